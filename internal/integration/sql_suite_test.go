package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

// sqlCase describes how databases and drivers differ.
type sqlCase struct {
	driver, dsn  string
	system       string // db.system.name
	namespace    string // db.namespace
	uniqueCode   string // db.response.status_code of a broken UNIQUE
	slow         string // a query of many seconds
	preparesArgs bool   // a statement with arguments is answered with ErrSkip
}

// sqlTest is a traced database and the request that uses it.
type sqlTest struct {
	db       *sqlx.DB
	tracer   *dendro.Tracer
	recorder *testkit.Recorder
}

// request calls f below a span and returns the spans that it made.
func (s *sqlTest) request(t *testing.T, f func(ctx context.Context)) []testkit.Span {
	t.Helper()
	s.recorder.Reset()
	ctx, span := s.tracer.Start(context.Background(), "request")
	f(ctx)
	span.End()
	return s.recorder.Spans()[1:]
}

// tree returns names after those of their parents. The name of the request is "".
func tree(spans []testkit.Span) []string {
	names := map[dendro.SpanID]string{}
	for _, s := range spans {
		names[s.SpanID] = s.Name
	}
	var out []string
	for _, s := range spans {
		out = append(out, names[s.ParentID]+" > "+s.Name)
	}
	return out
}

// testSQL uses a database like a program, through database/sql and sqlx.
func testSQL(t *testing.T, c sqlCase) *sqlTest {
	tracer, recorder := testkit.NewTracer(t)
	db, err := sqlxdb.Open(c.driver, c.dsn, sqldriver.Options{Tracer: tracer})
	testkit.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	s := &sqlTest{db, tracer, recorder}
	db.MustExec("DROP TABLE IF EXISTS orders")
	db.MustExec("CREATE TABLE orders (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL UNIQUE, price INTEGER)")
	testkit.Equal(t, "spans without a request", testkit.Names(recorder.Spans()), []string{})

	t.Run("transaction", func(t *testing.T) {
		spans := s.request(t, func(ctx context.Context) {
			tx, err := db.BeginTxx(ctx, nil)
			testkit.NoError(t, err)
			_, err = tx.NamedExecContext(ctx, "INSERT INTO orders (id, name, price) VALUES (:id, :name, 11), (2, 'pen', 22)",
				map[string]any{"id": 1, "name": "book"})
			testkit.NoError(t, err)
			res, err := tx.ExecContext(ctx, tx.Rebind("UPDATE orders SET price = price + ? WHERE name <> 'secret'"), 1)
			testkit.NoError(t, err)
			n, err := res.RowsAffected()
			testkit.NoError(t, err)
			testkit.Equal(t, "affected", n, int64(2))
			_, err = tx.Exec("DELETE FROM orders WHERE id = 99") // no context
			testkit.NoError(t, err)
			testkit.NoError(t, tx.Commit())
		})
		testkit.Equal(t, "tree", tree(spans), []string{" > transaction", "transaction > INSERT orders",
			"transaction > UPDATE orders", "transaction > DELETE orders"})
		testkit.Equal(t, "outcome", spans[0].Attr("dendro.db.transaction.outcome"), any("commit"))
		testkit.Equal(t, "rows", spans[1].Attr("dendro.db.affected_rows"), any(int64(2)))
		testkit.Equal(t, "rows", spans[3].Attr("dendro.db.affected_rows"), any(int64(0)))
		testkit.Equal(t, "prepared for its arguments", spans[2].Event("prepare") != nil, c.preparesArgs)
		for _, span := range spans {
			testkit.Equal(t, "system", span.Attr("db.system.name"), any(c.system))
			testkit.Equal(t, "namespace", span.Attr("db.namespace"), any(c.namespace))
			testkit.Equal(t, "status of "+span.Name, span.Status, dendro.Status{})
			text, _ := span.Attr("db.query.text").(string)
			if strings.ContainsAny(text, "'9") {
				t.Errorf("text: %s", text)
			}
		}
	})

	t.Run("rollback", func(t *testing.T) {
		spans := s.request(t, func(ctx context.Context) {
			tx, err := db.BeginTxx(ctx, nil)
			testkit.NoError(t, err)
			tx.MustExecContext(ctx, "DELETE FROM orders")
			testkit.NoError(t, tx.Rollback())
			var n int
			testkit.NoError(t, db.GetContext(ctx, &n, "SELECT count(*) FROM orders"))
			testkit.Equal(t, "orders", n, 2)
		})
		testkit.Equal(t, "tree", tree(spans), []string{" > transaction", "transaction > DELETE orders", " > SELECT orders"})
		testkit.Equal(t, "outcome", spans[0].Attr("dendro.db.transaction.outcome"), any("rollback"))
	})

	t.Run("queries", func(t *testing.T) {
		spans := s.request(t, func(ctx context.Context) {
			query, args, err := sqlx.In("SELECT name FROM orders WHERE id IN (?) ORDER BY id", []int{1, 2, 3})
			testkit.NoError(t, err)
			var names []string
			testkit.NoError(t, db.SelectContext(ctx, &names, db.Rebind(query), args...))
			testkit.Equal(t, "names", names, []string{"book", "pen"})
			rows, err := db.QueryxContext(ctx, "SELECT id, price FROM orders")
			testkit.NoError(t, err)
			defer rows.Close()
			types, err := rows.ColumnTypes()
			testkit.NoError(t, err)
			if name := types[0].DatabaseTypeName(); !strings.HasPrefix(name, "INT") {
				t.Errorf("column type: %q", name)
			}
			rows.Next()
		})
		testkit.Equal(t, "tree", tree(spans), []string{" > SELECT orders", " > SELECT orders"})
		testkit.Equal(t, "text", spans[0].Attr("db.query.text"), any("SELECT name FROM orders WHERE id IN (?) ORDER BY id"))
		testkit.Equal(t, "rows", spans[0].Attr("db.response.returned_rows"), any(int64(2)))
		testkit.Equal(t, "bytes", spans[0].Attr("dendro.db.returned_bytes"), any(int64(len("book")+len("pen"))))
		testkit.Equal(t, "rows", spans[1].Attr("db.response.returned_rows"), any(int64(1)))
	})

	t.Run("prepared", func(t *testing.T) {
		spans := s.request(t, func(ctx context.Context) {
			stmt, err := db.PreparexContext(ctx, db.Rebind("SELECT price FROM orders WHERE name = ?"))
			testkit.NoError(t, err)
			defer stmt.Close()
			for name, want := range map[string]int{"book": 12, "pen": 23} {
				var price int
				testkit.NoError(t, stmt.GetContext(ctx, &price, name))
				testkit.Equal(t, "price", price, want)
			}
		})
		testkit.Equal(t, "tree", tree(spans), []string{" > PREPARE SELECT orders", " > SELECT orders", " > SELECT orders"})
	})

	t.Run("sqlx", func(t *testing.T) { testSqlx(t, c, s) })

	t.Run("unwrap", func(t *testing.T) {
		bare, err := sql.Open(c.driver, c.dsn)
		testkit.NoError(t, err)
		defer bare.Close()
		if got, want := sqldriver.Unwrap(db.Driver()), any(bare.Driver()); got != want {
			t.Errorf("driver: %T, want the registered %T", got, want)
		}
		testkit.Equal(t, "connection", rawType(t, db.DB), rawType(t, bare))
		// The driver's own value opens connections without spans.
		conn, err := sqldriver.Unwrap(db.Driver()).(driver.Driver).Open(c.dsn)
		testkit.NoError(t, err)
		testkit.Equal(t, "connection", fmt.Sprintf("%T", conn), rawType(t, bare))
		testkit.NoError(t, conn.Close())
	})

	t.Run("error", func(t *testing.T) {
		var err error
		spans := s.request(t, func(ctx context.Context) {
			_, err = db.ExecContext(ctx, "INSERT INTO orders (id, name) VALUES (3, 'book')")
		})
		if err == nil {
			t.Fatal("no error")
		}
		span := spans[0]
		testkit.Equal(t, "status", span.Status.Code, dendro.StatusError)
		testkit.Equal(t, "code", span.Attr("db.response.status_code"), any(c.uniqueCode))
		testkit.Equal(t, "error.type", span.Attr("error.type"), any(c.uniqueCode))
		if message := span.Status.Message; message == "" || strings.Contains(message, "book") {
			t.Errorf("message: %s", message)
		}
	})

	t.Run("cancelled", func(t *testing.T) {
		var err error
		spans := s.request(t, func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			var n any
			err = db.GetContext(ctx, &n, c.slow)
		})
		if err == nil {
			t.Fatal("no error")
		}
		testkit.Equal(t, "spans", len(spans), 1)
		testkit.Equal(t, "status", spans[0].Status.Code, dendro.StatusError)
		want := []any{"context.DeadlineExceeded", "57014"} // PostgreSQL: query_canceled
		if got := spans[0].Attr("error.type"); !slices.Contains(want, got) {
			t.Errorf("error.type: %v (%v)", got, err)
		}
		if errors.Is(err, context.DeadlineExceeded) && spans[0].Duration() > 5*time.Second {
			t.Errorf("took %v", spans[0].Duration())
		}
	})
	return s
}

// rawType returns the type of the driver's connection.
func rawType(t *testing.T, db *sql.DB) (name string) {
	t.Helper()
	conn, err := db.Conn(context.Background())
	testkit.NoError(t, err)
	defer conn.Close()
	testkit.NoError(t, conn.Raw(func(c any) error {
		name = fmt.Sprintf("%T", sqldriver.Unwrap(c))
		return nil
	}))
	return name
}
