package sqlxdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
)

// TestBindTypes: under each name that sqlx knows, and under that of the pure Go
// SQLite driver, placeholders are as with sqlx.Open.
func TestBindTypes(t *testing.T) {
	mocked, _, err := sqlmock.NewWithDSN("sqlxdb")
	testkit.NoError(t, err)
	defer mocked.Close()
	for name, want := range map[string]string{
		"postgres": "a = $1", "pgx": "a = $1", "mysql": "a = ?", "sqlite3": "a = ?", "sqlite": "a = ?",
		"sqlserver": "a = @p1", "godror": "a = :arg1",
	} {
		if !slices.Contains(sql.Drivers(), name) { // by an earlier run
			sql.Register(name, mocked.Driver())
		}
		db, err := Open(name, "sqlxdb", sqldriver.Options{})
		testkit.NoError(t, err)
		defer db.Close()
		testkit.Equal(t, name, db.Rebind("a = ?"), want)
		testkit.Equal(t, "driver name", db.DriverName(), name)
		bare, err := sqlx.Open(name, "sqlxdb")
		testkit.NoError(t, err)
		defer bare.Close()
		named, _, err := db.BindNamed("a = :n", map[string]any{"n": 1})
		testkit.NoError(t, err)
		bareNamed, _, err := bare.BindNamed("a = :n", map[string]any{"n": 1})
		testkit.NoError(t, err)
		testkit.Equal(t, name+" named", named, bareNamed)
	}
	if _, err := Open("no such driver", "", sqldriver.Options{}); err == nil {
		t.Error("no error for an unknown driver")
	}
}

// TestRegisteredBindTypes: sqlx knows the placeholders under a registered name.
func TestRegisteredBindTypes(t *testing.T) {
	dsn := fmt.Sprintf("registered %p", t)
	mocked, mock, err := sqlmock.NewWithDSN(dsn)
	testkit.NoError(t, err)
	defer mocked.Close()
	for driverName, want := range map[string]int{"postgres": sqlx.DOLLAR, "mysql": sqlx.QUESTION, "sqlserver": sqlx.AT, "of nobody": sqlx.UNKNOWN} {
		if !slices.Contains(sql.Drivers(), driverName) {
			sql.Register(driverName, mocked.Driver())
		}
		name, err := sqldriver.Register(driverName, sqldriver.Options{})
		testkit.NoError(t, err)
		testkit.Equal(t, name, sqlx.BindType(name), want)
	}
	mock.ExpectExec(`UPDATE items SET n = \$1 WHERE id = \$2`).WithArgs(5, 7).WillReturnResult(sqlmock.NewResult(0, 1))
	db, err := sqlx.Open("dendro:postgres", dsn)
	testkit.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(db.Rebind("UPDATE items SET n = ? WHERE id = ?"), 5, 7)
	testkit.NoError(t, err)
	testkit.NoError(t, mock.ExpectationsWereMet())
}

func TestOpen(t *testing.T) {
	dsn := fmt.Sprintf("orders of %p", t) // sqlmock wants a new one for each run
	mocked, mock, err := sqlmock.NewWithDSN(dsn)
	testkit.NoError(t, err)
	defer mocked.Close()
	tracer, recorder := testkit.NewTracer(t)
	db, err := Open("sqlmock", dsn, sqldriver.Options{Tracer: tracer})
	testkit.NoError(t, err)
	mock.ExpectQuery("SELECT name").WithArgs("pen").WillReturnRows(sqlmock.NewRows([]string{"name", "price"}).AddRow("pen", 3))
	mock.ExpectQuery("SELECT nothing").WillReturnRows(sqlmock.NewRows([]string{"name"}))

	ctx, span := tracer.Start(context.Background(), "request")
	var item struct {
		Name  string
		Price int
	}
	testkit.NoError(t, db.GetContext(ctx, &item, "SELECT name, price FROM items WHERE name = ?", "pen"))
	testkit.Equal(t, "item", item.Name, "pen")
	if err := db.GetContext(ctx, &item, "SELECT nothing FROM items"); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("error: %v", err)
	}
	span.End()
	spans := recorder.Spans()
	testkit.Equal(t, "spans", testkit.Names(spans), []string{"request", "SELECT items", "SELECT items"})
	testkit.Equal(t, "no row is no error", spans[2].Status.Message, "")
	testkit.Equal(t, "rows", spans[2].Attr("db.response.returned_rows"), any(int64(0)))
}

// A call whose argument sqlx refuses does not count as one without a connection.
func TestRefusedArguments(t *testing.T) {
	dsn := fmt.Sprintf("arguments of %p", t)
	mocked, _, err := sqlmock.NewWithDSN(dsn)
	testkit.NoError(t, err)
	defer mocked.Close()
	tracer, recorder := testkit.NewTracer(t)
	pool, err := Open("sqlmock", dsn, sqldriver.Options{Tracer: tracer})
	testkit.NoError(t, err)
	ctx, span := tracer.Start(context.Background(), "request")
	_, err = NewDB(pool).NamedExecContext(ctx, "UPDATE a SET b = :b", map[string]any{"c": "secret"})
	testkit.Equal(t, "refused", err != nil, true)
	span.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Spans()), []string{"request"})
}
