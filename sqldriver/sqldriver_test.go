package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/DATA-DOG/go-sqlmock"
	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// dsnDriver has a connector of its own and records the names that it gets.
type dsnDriver struct {
	fakeDriver
	names []string
}

func (d *dsnDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if d.names = append(d.names, dsn); dsn == "bad" {
		return nil, errors.New("bad name")
	}
	return dsnConnector{dsn, d}, nil
}

var registerFakes = sync.OnceValues(func() (*fakeDriver, *dsnDriver) {
	plain, withContext := &fakeDriver{rows: 1}, &dsnDriver{fakeDriver: fakeDriver{rows: 1}}
	sql.Register("fake-mysql", plain)
	sql.Register("fake-dsn", withContext)
	return plain, withContext
})

func TestOpen(t *testing.T) {
	testkit.NoLeaks(t)
	plain, withContext := registerFakes()
	before := len(plain.seen) + len(withContext.seen)
	for _, name := range []string{"fake-mysql", "fake-dsn"} {
		db, err := Open(name, "bob:secret@tcp(db.example:3307)/shop", Options{})
		testkit.NoError(t, err)
		if name == "fake-mysql" {
			testkit.Equal(t, "driver", Unwrap(db.Driver()), any(plain))
		} else {
			testkit.Equal(t, "driver", Unwrap(db.Driver()), any(withContext))
		}
		testkit.NoError(t, db.Close())
	}
	testkit.Equal(t, "calls before the first use", len(plain.seen)+len(withContext.seen)-before, 0)
	if _, err := Open("fake-dsn", "bad", Options{}); err == nil || err.Error() != "bad name" {
		t.Errorf("error: %v", err)
	}
	if _, err := Open("fake", "", Options{}); err == nil || !strings.Contains(err.Error(), `"fake"`) || !strings.Contains(err.Error(), "fake-dsn") {
		t.Errorf("error: %v", err)
	}
}

func TestServerAttributes(t *testing.T) {
	registerFakes()
	tracer, recorder := testkit.NewTracer(t)
	db, err := Open("fake-mysql", "bob:secret@tcp(db.example:3307)/shop", Options{Tracer: tracer, Roots: true})
	testkit.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("DELETE FROM orders")
	testkit.NoError(t, err)
	s := recorder.Spans()[0]
	for key, want := range map[string]any{
		"db.system.name": "mysql", "db.namespace": "shop", "server.address": "db.example", "server.port": int64(3307),
	} {
		testkit.Equal(t, key, s.Attr(key), want)
	}
	for _, a := range s.Attributes {
		if strings.Contains(a.Value.String(), "secret") {
			t.Errorf("%v", a)
		}
	}
}

// TestRegisteredDriver: databases opened by a registered name have the registered driver.
func TestRegisteredDriver(t *testing.T) {
	bare := fmt.Sprintf("bare %p", t)
	mysql, err := sql.Open("fake-mysql", "")
	testkit.NoError(t, err)
	defer mysql.Close()
	sql.Register(bare, mysql.Driver())
	name, err := Register(bare, Options{})
	testkit.NoError(t, err)
	first, err := sql.Open(name, "a")
	testkit.NoError(t, err)
	defer first.Close()
	second, err := sql.Open(name, "b")
	testkit.NoError(t, err)
	defer second.Close()
	if first.Driver() != second.Driver() {
		t.Errorf("two databases of %s have different drivers", name)
	}
	wrapped := WrapDriver(Unwrap(first.Driver()).(driver.Driver), Options{})
	own := fmt.Sprintf("own %p", t)
	sql.Register(own, wrapped)
	third, err := sql.Open(own, "a")
	testkit.NoError(t, err)
	defer third.Close()
	if third.Driver() != wrapped {
		t.Error("the driver is not the one that was registered")
	}
}

func TestRegister(t *testing.T) {
	registerFakes()
	name, err := Register("fake-mysql", Options{})
	testkit.NoError(t, err)
	testkit.Equal(t, "name", name, "dendro:fake-mysql")
	again, err := Register("fake-mysql", Options{})
	testkit.NoError(t, err)
	testkit.Equal(t, "again", again, name)
	tracer, recorder := testkit.NewTracer(t)
	other, err := Register("fake-mysql", Options{Tracer: tracer, Roots: true})
	testkit.NoError(t, err)
	if number, ok := strings.CutPrefix(other, "dendro:fake-mysql-"); !ok || number == "" {
		t.Errorf("with other options: %q", other)
	}
	if _, err := Register("fake", Options{}); err == nil {
		t.Error("no error for an unknown driver")
	}

	// A wrapped driver is not wrapped twice.
	for what, open := range map[string]func() (*sql.DB, error){
		"sql.Open":       func() (*sql.DB, error) { return sql.Open(other, "") },
		"sqldriver.Open": func() (*sql.DB, error) { return Open(other, "", Options{Tracer: tracer, Roots: true}) },
	} {
		recorder.Reset()
		db, err := open()
		testkit.NoError(t, err)
		_, err = db.Exec("DELETE FROM orders")
		testkit.NoError(t, err)
		testkit.Equal(t, what, testkit.Names(recorder.Spans()), []string{"DELETE orders"})
		testkit.Equal(t, "system", recorder.Spans()[0].Attr("db.system.name"), any("mysql"))
		testkit.NoError(t, db.Close())
	}
}

func TestUnwrap(t *testing.T) {
	d := &fakeDriver{rows: 1}
	db, ctx, end := open(t, d, Options{})
	conn, err := db.Conn(ctx)
	testkit.NoError(t, err)
	defer conn.Close()
	testkit.NoError(t, conn.Raw(func(c any) error {
		if _, ok := Unwrap(c).(*fakeConn); !ok {
			t.Errorf("connection: %T", Unwrap(c))
		}
		s, err := c.(driver.ConnPrepareContext).PrepareContext(ctx, "SELECT 1")
		testkit.NoError(t, err)
		r, err := s.(driver.StmtQueryContext).QueryContext(ctx, nil)
		testkit.NoError(t, err)
		tx, err := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
		testkit.NoError(t, err)
		for _, v := range []any{s, r, tx} {
			switch Unwrap(v).(type) {
			case *fakeStatement, *fakeRows, fakeTx:
			default:
				t.Errorf("%T: %T", v, Unwrap(v))
			}
		}
		testkit.NoError(t, r.Close())
		testkit.NoError(t, s.Close())
		return tx.Rollback()
	}))
	testkit.Equal(t, "anything else", Unwrap(42), any(42))
	end()
}

// TestSqlmock: expectations are met as with the bare driver.
func TestSqlmock(t *testing.T) {
	mocked, mock, err := sqlmock.NewWithDSN("sqldriver", sqlmock.MonitorPingsOption(true))
	testkit.NoError(t, err)
	defer mocked.Close()
	tracer, recorder := testkit.NewTracer(t)
	db, err := Open("sqlmock", "sqldriver", Options{Tracer: tracer})
	testkit.NoError(t, err)
	dbx := sqlx.NewDb(db, "postgres")

	mock.ExpectPing()
	mock.ExpectBegin()
	mock.ExpectExec(`INSERT INTO orders`).WithArgs("book", 2).WillReturnResult(sqlmock.NewResult(7, 1))
	mock.ExpectQuery(`SELECT name FROM orders WHERE id IN \(\$1, \$2\)`).WithArgs(1, 2).
		WillReturnRows(sqlmock.NewRows([]string{"name"}).AddRow("book").AddRow("pen"))
	mock.ExpectPrepare(`UPDATE orders`).ExpectExec().WithArgs(3).WillReturnError(errors.New("locked"))
	mock.ExpectRollback()

	ctx, span := tracer.Start(context.Background(), "request")
	testkit.NoError(t, dbx.PingContext(ctx))
	tx, err := dbx.BeginTxx(ctx, nil)
	testkit.NoError(t, err)
	res, err := tx.NamedExecContext(ctx, "INSERT INTO orders VALUES (:name, :n)", map[string]any{"name": "book", "n": 2})
	testkit.NoError(t, err)
	id, err := res.LastInsertId()
	testkit.NoError(t, err)
	testkit.Equal(t, "id", id, int64(7))
	query, args, err := sqlx.In("SELECT name FROM orders WHERE id IN (?)", []int{1, 2})
	testkit.NoError(t, err)
	var names []string
	testkit.NoError(t, tx.SelectContext(ctx, &names, tx.Rebind(query), args...))
	testkit.Equal(t, "names", names, []string{"book", "pen"})
	stmt, err := tx.PreparexContext(ctx, "UPDATE orders SET n = 0 WHERE id = $1")
	testkit.NoError(t, err)
	if _, err := stmt.ExecContext(ctx, 3); err == nil || err.Error() != "locked" {
		t.Errorf("error: %v", err)
	}
	testkit.NoError(t, tx.Rollback())
	testkit.NoError(t, mock.ExpectationsWereMet())
	mock.ExpectClose()
	testkit.NoError(t, db.Close())
	span.End()

	testkit.Equal(t, "tree", tree(recorder.Spans()), []string{"request > transaction", "transaction > INSERT orders",
		"transaction > SELECT orders", "transaction > PREPARE UPDATE orders", "transaction > UPDATE orders"})
}

func queryRow(ctx context.Context, db *sql.DB, dest *int) error {
	return db.QueryRowContext(ctx, "SELECT a FROM orders WHERE id = 1").Scan(dest)
}

// discard is the cheapest collector.
type discard struct{}

func (discard) Collect(*dendro.Batch) error { return nil }

func bareAndWrapped(d driver.Driver) (bare, wrapped *sql.DB) {
	c := dsnConnector{"", d}
	return sql.OpenDB(c), sql.OpenDB(WrapConnector(c, Options{System: "postgresql"}))
}

// quietDriver is a fakeDriver that records nothing.
type quietDriver struct{ fakeDriver }

func (d *quietDriver) Open(string) (driver.Conn, error) {
	return &quietConn{fakeConn{&d.fakeDriver}}, nil
}

type quietConn struct{ fakeConn }

func (c *quietConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}

func (c *quietConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &fakeRows{d: c.d, left: 1}, nil
}

func TestAllocations(t *testing.T) {
	bare, wrapped := bareAndWrapped(&quietDriver{})
	defer bare.Close()
	defer wrapped.Close()
	tracer := dendro.New(dendro.Options{Collector: discard{}, Sampler: dendro.AlwaysSample})
	traced, span := tracer.Start(context.Background(), "request")
	defer span.End()
	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample})
	unsampled, _ := never.Start(context.Background(), "request")
	dest := new(int)
	for _, c := range []struct {
		name   string
		ctx    context.Context
		budget float64
		call   func(ctx context.Context, db *sql.DB) error
	}{
		{"QueryRow", traced, 2, func(ctx context.Context, db *sql.DB) error { return queryRow(ctx, db, dest) }},
		{"QueryRow without a span", context.Background(), 0, func(ctx context.Context, db *sql.DB) error { return queryRow(ctx, db, dest) }},
		{"QueryRow, not sampled", unsampled, 0, func(ctx context.Context, db *sql.DB) error { return queryRow(ctx, db, dest) }},
		{"Exec", traced, 1, execute},
		{"Exec without a span", context.Background(), 0, execute},
	} {
		count := func(db *sql.DB) float64 {
			return testing.AllocsPerRun(100, func() {
				if err := c.call(c.ctx, db); err != nil {
					t.Fatal(err)
				}
			})
		}
		if got := count(wrapped) - count(bare); got > c.budget {
			t.Errorf("%s: %v allocations over bare, want at most %v", c.name, got, c.budget)
		}
	}
}

func execute(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "UPDATE orders SET state = 'paid'")
	return err
}

func BenchmarkQueryRow(b *testing.B) {
	bare, wrapped := bareAndWrapped(&quietDriver{})
	defer bare.Close()
	defer wrapped.Close()
	tracer := dendro.New(dendro.Options{Collector: discard{}, Sampler: dendro.AlwaysSample})
	for _, bb := range []struct {
		name   string
		db     *sql.DB
		traced bool
	}{{"bare", bare, true}, {"without span", wrapped, false}, {"with span", wrapped, true}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := context.Background()
			var span *dendro.Span
			if bb.traced {
				ctx, span = tracer.Start(ctx, "request")
			}
			dest := new(int)
			for b.Loop() {
				if err := queryRow(ctx, bb.db, dest); err != nil {
					b.Fatal(err)
				}
			}
			span.End()
		})
	}
}

// oddConnector is a connector made by the program, without a driver.
type oddConnector struct {
	driver.Connector
	odd func() driver.Driver
}

func (c oddConnector) Driver() driver.Driver { return c.odd() }

// A connector need not have a driver, because database/sql does not ask for it.
func TestConnectorWithoutDriver(t *testing.T) {
	testkit.NoLeaks(t)
	ask := func(c driver.Connector) (outcome any) {
		defer func() {
			if p := recover(); p != nil {
				outcome = fmt.Sprint("panic: ", p)
			}
		}()
		return c.Driver()
	}
	for name, odd := range map[string]func() driver.Driver{
		"nil":   func() driver.Driver { return nil },
		"panic": func() driver.Driver { panic("no driver") },
	} {
		tracer, recorder := testkit.NewTracer(t)
		bare := oddConnector{dsnConnector{"", &fakeDriver{rows: 1}}, odd}
		c := WrapConnector(bare, Options{Tracer: tracer, Roots: true})
		testkit.Equal(t, name+": driver", ask(c), ask(bare))
		db := &DB{DB: sql.OpenDB(c)}
		_, err := db.ExecContext(t.Context(), "UPDATE t SET a = 1")
		testkit.NoError(t, err)
		testkit.NoError(t, db.Close())
		_, err = db.ExecContext(t.Context(), "UPDATE t SET a = 2")
		testkit.Equal(t, name+": closed", fmt.Sprint(err), "sql: database is closed")
		testkit.Equal(t, name+": spans", testkit.Names(recorder.Wait(t, 1)), []string{"UPDATE t"})
	}
}
