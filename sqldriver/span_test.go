package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// open returns a DB that uses d, and a context with the span "request". end ends that
// span and returns the other spans, ordered by start.
func open(t testing.TB, d *fakeDriver, o Options) (_ *sql.DB, _ context.Context, end func() []testkit.Span) {
	tracer, recorder := testkit.NewTracer(t)
	if o.System == "" {
		o.System = "postgresql"
	}
	db := sql.OpenDB(WrapConnector(dsnConnector{"", d}, o))
	t.Cleanup(func() { db.Close() })
	ctx, span := tracer.Start(context.Background(), "request")
	return db, ctx, func() []testkit.Span {
		t.Helper()
		span.End()
		spans := recorder.Spans()
		if len(spans) == 0 || spans[0].Name != "request" {
			t.Fatalf("spans: %v", testkit.Names(spans))
		}
		for _, s := range spans {
			if s.TraceID != spans[0].TraceID {
				t.Errorf("%s is in another trace", s.Name)
			}
		}
		return spans
	}
}

// tree returns the names of spans, each after the name of its parent.
func tree(spans []testkit.Span) []string {
	names := map[dendro.SpanID]string{}
	for _, s := range spans {
		names[s.SpanID] = s.Name
	}
	var out []string
	for _, s := range spans[1:] {
		out = append(out, names[s.ParentID]+" > "+s.Name)
	}
	return out
}

func (d *fakeDriver) currentSpan(i int) *dendro.Span { return dendro.SpanFromContext(d.spans[i]) }

func eventNames(s testkit.Span) []string {
	var out []string
	for _, e := range s.Events {
		out = append(out, e.Name)
	}
	return out
}

// A statement for which no connection could be opened has a span.
func TestConnectFails(t *testing.T) {
	d := &fakeDriver{refuse: errors.New("connection refused")}
	db, ctx, end := open(t, d, Options{})
	_, err := db.ExecContext(ctx, "INSERT INTO orders VALUES (1)")
	testkit.Equal(t, "error", err, d.refuse)
	_, err = db.ExecContext(context.Background(), "INSERT INTO orders VALUES (1)")
	testkit.Equal(t, "error without a span", err, d.refuse)
	spans := end()
	testkit.Equal(t, "spans", tree(spans), []string{"request > connect"})
	testkit.Equal(t, "status", spans[1].Status, dendro.Status{Code: dendro.StatusError, Message: "connection refused"})
	testkit.Equal(t, "system", spans[1].Attr("db.system.name"), any("postgresql"))
}

func TestQuery(t *testing.T) {
	d := &fakeDriver{rows: 3}
	db, ctx, end := open(t, d, Options{})
	rows, err := db.QueryContext(ctx, "SELECT a FROM orders WHERE b = 'secret' AND c = $1", "secret")
	testkit.NoError(t, err)
	n := 0
	for rows.Next() {
		if n++; n == 2 {
			break
		}
	}
	testkit.Equal(t, "the span goes on while rows are read", d.currentSpan(0).IsRecording(), true)
	testkit.NoError(t, rows.Close())
	testkit.Equal(t, "the span goes on when they are closed", d.currentSpan(0).IsRecording(), false)

	spans := end()
	testkit.Equal(t, "tree", tree(spans), []string{"request > SELECT orders"})
	s := spans[1]
	testkit.Equal(t, "the driver sees the span", d.currentSpan(0).Context(), s.SpanContext)
	testkit.Equal(t, "kind", s.Kind, dendro.KindClient)
	testkit.Equal(t, "status", s.Status, dendro.Status{})
	for key, want := range map[string]any{
		"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.collection.name": "orders",
		"db.query.summary": "SELECT orders", "db.query.text": "SELECT a FROM orders WHERE b = ? AND c = $1",
		"db.response.returned_rows": int64(2),
	} {
		testkit.Equal(t, key, s.Attr(key), want)
	}
	if first, _ := s.Attr(firstRowKey).(int64); first <= 0 || first > int64(s.Duration()) {
		t.Errorf("first row after %d of %d ns", first, s.Duration())
	}
}

// The number of bytes is that of the rows that were read, as the driver returned them.
func TestReturnedBytes(t *testing.T) {
	d := &fakeDriver{rows: 6, values: []driver.Value{[]byte("not read"), "text", []byte("binary"), nil, int64(7), ""}}
	db, ctx, end := open(t, d, Options{})
	rows, err := db.QueryContext(ctx, "SELECT a FROM orders")
	testkit.NoError(t, err)
	for range 5 {
		rows.Next()
	}
	testkit.NoError(t, rows.Close())
	d.values = nil
	testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM numbers").Scan(new(int)))
	spans := end()
	testkit.Equal(t, "bytes", spans[1].Attr(returnedBytesKey), any(int64(10)))
	testkit.Equal(t, "bytes of numbers", spans[2].Attr(returnedBytesKey), nil)
}

func TestExec(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{}, Options{RawStatements: true})
	_, err := db.ExecContext(ctx, "UPDATE orders SET a = 'x'")
	testkit.NoError(t, err)
	spans := end()
	testkit.Equal(t, "tree", tree(spans), []string{"request > UPDATE orders"})
	testkit.Equal(t, "rows", spans[1].Attr(semconv.DBAffectedRows), any(int64(3)))
	testkit.Equal(t, "raw text", spans[1].Attr("db.query.text"), any("UPDATE orders SET a = 'x'"))
}

// brokenResult panics when it is asked, like some mocks.
type brokenResult struct{}

func (brokenResult) LastInsertId() (int64, error) { panic("unexpected call") }
func (brokenResult) RowsAffected() (int64, error) { panic("unexpected call") }

func TestAffectedRows(t *testing.T) {
	for _, res := range []driver.Result{nil, brokenResult{}, driver.ResultNoRows} {
		if n, ok := affectedRows(res); n != 0 || ok {
			t.Errorf("%T: %d, %v", res, n, ok)
		}
	}
}

func TestPreparedStatement(t *testing.T) {
	d := &fakeDriver{rows: 1}
	db, ctx, end := open(t, d, Options{})
	stmt, err := db.PrepareContext(ctx, "SELECT a FROM orders")
	testkit.NoError(t, err)
	for range 2 {
		testkit.NoError(t, stmt.QueryRowContext(ctx).Scan(new(int)))
	}
	_, err = stmt.ExecContext(ctx)
	testkit.NoError(t, err)
	testkit.NoError(t, stmt.Close())
	spans := end()
	testkit.Equal(t, "tree", tree(spans), []string{"request > PREPARE SELECT orders", "request > SELECT orders",
		"request > SELECT orders", "request > SELECT orders"})
	testkit.Equal(t, "operation", spans[1].Attr("db.operation.name"), any("PREPARE"))
	testkit.Equal(t, "rows", spans[2].Attr("db.response.returned_rows"), any(int64(1)))
}

// TestErrSkip: ErrSkip is not an error, and the call is one span.
func TestErrSkip(t *testing.T) {
	skip := func(call, query string) error {
		switch {
		case call == "exec" || call == "query":
			return driver.ErrSkip
		case strings.Contains(query, call):
			return errors.New("failed")
		}
		return nil
	}
	t.Run("query", func(t *testing.T) {
		d := &fakeDriver{rows: 2, answer: skip}
		db, ctx, end := open(t, d, Options{})
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
		testkit.Equal(t, "calls", d.seen, []string{"query", "prepare", "stmt.query"})
		spans := end()
		testkit.Equal(t, "tree", tree(spans), []string{"request > SELECT orders"})
		testkit.Equal(t, "status", spans[1].Status, dendro.Status{})
		testkit.Equal(t, "rows", spans[1].Attr("db.response.returned_rows"), any(int64(1)))
		testkit.Equal(t, "events", eventNames(spans[1]), []string{"connect", "prepare"})
		for i := range d.spans {
			testkit.Equal(t, "the driver sees the span", d.currentSpan(i).Context(), spans[1].SpanContext)
		}
	})
	for what, query := range map[string]string{"prepare": "SELECT prepare", "stmt.exec": "SELECT stmt.exec"} {
		t.Run(what+" fails", func(t *testing.T) {
			db, ctx, end := open(t, &fakeDriver{answer: skip}, Options{})
			_, err := db.ExecContext(ctx, query)
			testkit.Equal(t, "error", fmt.Sprint(err), "failed")
			spans := end()
			testkit.Equal(t, "spans", len(spans), 2)
			testkit.Equal(t, "status", spans[1].Status, dendro.Status{Code: dendro.StatusError, Message: "failed"})
		})
	}
	t.Run("arguments refused", func(t *testing.T) {
		db, ctx, end := open(t, &fakeDriver{open: func() driver.Conn { return onePlaceholder{&fakeConn{&fakeDriver{answer: skip}}} }}, Options{})
		_, err := db.ExecContext(ctx, "SELECT 1", 1, 2)
		testkit.Equal(t, "error", fmt.Sprint(err), "sql: expected 1 arguments, got 2")
		testkit.Equal(t, "tree", tree(end()), []string{"request > SELECT"})
	})
	t.Run("in a transaction used by several goroutines", func(t *testing.T) {
		db, ctx, end := open(t, &fakeDriver{answer: skip}, Options{})
		tx, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT a FROM t%d", i%3)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		testkit.NoError(t, tx.Commit())
		spans := end()
		testkit.Equal(t, "spans", len(spans), 22)
		for _, s := range spans[2:] {
			testkit.Equal(t, "parent", s.ParentID, spans[1].SpanID)
			testkit.Equal(t, "events", eventNames(s), []string{"prepare"})
		}
	})
}

// TestSkippedAndLeft: a caller of the driver's connection need not prepare what was
// skipped. The spans end nevertheless, and the memory of the connection does not grow.
func TestSkippedAndLeft(t *testing.T) {
	d := &fakeDriver{answer: func(string, string) error { return driver.ErrSkip }}
	db, ctx, end := open(t, d, Options{})
	conn, err := db.Conn(ctx)
	testkit.NoError(t, err)
	testkit.NoError(t, conn.Raw(func(c any) error {
		for range 2 * maxSkipped {
			if _, err := c.(driver.ExecerContext).ExecContext(ctx, "SELECT 1", nil); err != driver.ErrSkip {
				t.Fatal(err)
			}
		}
		return nil
	}))
	open := 0
	for i := range d.spans {
		if d.currentSpan(i).IsRecording() {
			open++
		}
	}
	testkit.Equal(t, "open spans", open, maxSkipped)
	testkit.NoError(t, conn.Close())
	testkit.NoError(t, db.Close())
	testkit.Equal(t, "spans", len(end()), 1+2*maxSkipped)
}

// onePlaceholder is a connection whose statements have one placeholder.
type onePlaceholder struct{ *fakeConn }

func (c onePlaceholder) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.fakeConn.PrepareContext(ctx, query)
	return oneInput{s}, err
}

type oneInput struct{ driver.Stmt }

func (oneInput) NumInput() int { return 1 }

func TestTransaction(t *testing.T) {
	for outcome, finish := range map[string]func(*sql.Tx) error{"commit": (*sql.Tx).Commit, "rollback": (*sql.Tx).Rollback} {
		t.Run(outcome, func(t *testing.T) {
			d := &fakeDriver{rows: 1}
			db, ctx, end := open(t, d, Options{})
			tx, err := db.BeginTx(ctx, nil)
			testkit.NoError(t, err)
			exec := func(ctx context.Context, query string) {
				t.Helper()
				_, err := tx.ExecContext(ctx, query)
				testkit.NoError(t, err)
			}
			exec(ctx, "INSERT INTO a VALUES (1)")
			exec(context.Background(), "INSERT INTO b VALUES (1)") // code without contexts
			inner, span := dendro.Start(ctx, "inner")
			exec(inner, "INSERT INTO c VALUES (1)")
			span.End()
			_, err = db.ExecContext(ctx, "INSERT INTO d VALUES (1)") // on another connection
			testkit.NoError(t, err)
			testkit.NoError(t, finish(tx))
			spans := end()
			testkit.Equal(t, "tree", tree(spans), []string{"request > transaction", "transaction > INSERT a",
				"transaction > INSERT b", "request > inner", "inner > INSERT c", "request > INSERT d"})
			s := spans[1]
			testkit.Equal(t, "outcome", s.Attr(outcomeKey), any(outcome))
			testkit.Equal(t, "status", s.Status, dendro.Status{})
			testkit.Equal(t, "kind", s.Kind, dendro.KindClient)
			testkit.Equal(t, "system", s.Attr("db.system.name"), any("postgresql"))
			if s.Event("begin") == nil || s.Event(outcome) == nil {
				t.Errorf("events: %v", s.Events)
			}
		})
	}
	t.Run("the connection is free of it afterwards", func(t *testing.T) {
		db, ctx, end := open(t, &fakeDriver{}, Options{})
		db.SetMaxOpenConns(1)
		tx, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		testkit.NoError(t, tx.Commit())
		_, err = db.ExecContext(ctx, "INSERT INTO a VALUES (1)")
		testkit.NoError(t, err)
		testkit.Equal(t, "tree", tree(end()), []string{"request > transaction", "request > INSERT a"})
	})
	t.Run("begin fails", func(t *testing.T) {
		db, ctx, end := open(t, &fakeDriver{answer: func(string, string) error { return errors.New("no") }}, Options{})
		if _, err := db.BeginTx(ctx, nil); err == nil {
			t.Fatal("no error")
		}
		spans := end()
		testkit.Equal(t, "tree", tree(spans), []string{"request > transaction"})
		testkit.Equal(t, "status", spans[1].Status.Code, dendro.StatusError)
	})
	t.Run("commit fails", func(t *testing.T) {
		db, ctx, end := open(t, &fakeDriver{answer: func(call, _ string) error {
			if call == "commit" {
				return errors.New("no")
			}
			return nil
		}}, Options{})
		tx, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		testkit.Equal(t, "error", fmt.Sprint(tx.Commit()), "no")
		spans := end()
		testkit.Equal(t, "status", spans[1].Status.Code, dendro.StatusError)
		testkit.Equal(t, "outcome", spans[1].Attr(outcomeKey), nil)
	})
	t.Run("cancelled while it commits", func(t *testing.T) {
		var cancel context.CancelFunc
		db, ctx, end := open(t, &fakeDriver{answer: func(call, _ string) error {
			if call == "commit" {
				cancel()
			}
			return nil
		}}, Options{})
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		tx, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		testkit.NoError(t, tx.Commit())
		spans := end()
		testkit.Equal(t, "status", spans[1].Status, dendro.Status{})
		testkit.Equal(t, "outcome", spans[1].Attr(outcomeKey), any("commit"))
	})
	t.Run("cancelled", func(t *testing.T) {
		testkit.NoLeaks(t)
		db, ctx, end := open(t, &fakeDriver{}, Options{})
		ctx, cancel := context.WithCancel(ctx)
		_, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		cancel()
		for db.Stats().InUse > 0 { // database/sql rolls back, then gives back the connection
			runtime.Gosched()
		}
		spans := end()
		testkit.Equal(t, "error", spans[1].Attr("error.type"), any("context.Canceled"))
		testkit.Equal(t, "outcome", spans[1].Attr(outcomeKey), any("rollback"))
	})
}

func TestWithoutSpan(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	use := func(ctx context.Context, db *sql.DB) {
		t.Helper()
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
		tx, err := db.BeginTx(ctx, nil)
		testkit.NoError(t, err)
		_, err = tx.ExecContext(ctx, "DELETE FROM orders")
		testkit.NoError(t, err)
		stmt, err := tx.PrepareContext(ctx, "DELETE FROM orders")
		testkit.NoError(t, err)
		_, err = stmt.ExecContext(ctx)
		testkit.NoError(t, err)
		testkit.NoError(t, tx.Commit())
	}
	db := sql.OpenDB(WrapConnector(dsnConnector{"", &fakeDriver{rows: 1}}, Options{Tracer: tracer}))
	defer db.Close()
	use(context.Background(), db)
	testkit.Equal(t, "spans by default", testkit.Names(recorder.Spans()), []string{})

	d := &fakeDriver{rows: 1}
	roots := sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{Tracer: tracer, Roots: true}))
	defer roots.Close()
	use(context.Background(), roots)
	testkit.Equal(t, "spans with Roots", testkit.Names(recorder.Spans()),
		[]string{"SELECT orders", "transaction", "DELETE orders", "PREPARE DELETE orders", "DELETE orders"})
	recorder.Reset()

	never := dendro.New(dendro.Options{Sampler: dendro.NeverSample, Collector: recorder})
	ctx, span := never.Start(context.Background(), "request")
	defer span.End()
	d.spans = nil
	use(ctx, roots)
	testkit.Equal(t, "spans of a trace that is not sampled", testkit.Names(recorder.Spans()), []string{})
	for i := range d.spans {
		if s := d.currentSpan(i); s != nil && s != span {
			t.Errorf("the driver sees %v", s.Context())
		}
	}
	use(context.Background(), sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{Tracer: never, Roots: true})))
	use(context.Background(), sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{Roots: true}))) // no default tracer
}

type sqlState struct{ error }

func (sqlState) SQLState() string { return "23505" }

// nilState panics when a nil pointer to it is asked for its state.
type nilState struct{ state string }

func (*nilState) Error() string      { return "no state" }
func (e *nilState) SQLState() string { return e.state }

type sqliteError struct{ error }

func (sqliteError) Code() int { return 2067 }

// mattnError has the structure of the error of mattn/go-sqlite3.
type mattnError struct {
	Code         mattnCode
	ExtendedCode mattnExtended
	text         string
}

type (
	mattnCode     int
	mattnExtended int
)

func (e mattnError) Error() string { return e.text }

// brokenError would panic if its fields were read through the nil pointer.
type brokenError struct{ *mattnError }

func (brokenError) Error() string { return "broken" }

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		err              error
		kind, code, text string
	}{
		{errors.New("no"), "*errors.errorString", "", "no"},
		{fmt.Errorf("wrapped: %w", sqlState{errors.New(`bad value: "secret"`)}), "23505", "23505", `wrapped: bad value: "?"`},
		{sqliteError{errors.New("constraint failed")}, "2067", "2067", "constraint failed"},
		{fmt.Errorf("wrapped: %w", mattnError{19, 2067, "constraint failed"}), "2067", "2067", "wrapped: constraint failed"},
		{mattnError{Code: 14, text: "no file"}, "14", "14", "no file"},
		{mattnError{text: "no code"}, "sqldriver.mattnError", "", "no code"},
		{brokenError{}, "sqldriver.brokenError", "", "broken"},
		{(*nilState)(nil), "*sqldriver.nilState", "", "no state"},
		{errors.New("Error 1062 (23000): Duplicate entry 'secret' for key 'email'"), "1062", "1062", "Error 1062 (23000): Duplicate entry '?'"},
		{fmt.Errorf("x: %w", context.Canceled), "context.Canceled", "", "x: context canceled"},
		{context.DeadlineExceeded, "context.DeadlineExceeded", "", "context deadline exceeded"},
	} {
		for _, call := range []string{"query", "next"} {
			d := &fakeDriver{rows: 1, answer: func(c, _ string) error {
				if c == call {
					return tc.err
				}
				return nil
			}}
			db, ctx, end := open(t, d, Options{})
			err := db.QueryRowContext(ctx, "SELECT 1").Scan(new(int))
			testkit.Equal(t, "the caller's error", err, tc.err)
			s := end()[1]
			testkit.Equal(t, "error.type", s.Attr("error.type"), any(tc.kind))
			code, _ := s.Attr("db.response.status_code").(string)
			testkit.Equal(t, "code", code, tc.code)
			testkit.Equal(t, "status", s.Status, dendro.Status{Code: dendro.StatusError, Message: tc.text})
			testkit.Equal(t, "events", eventNames(s), []string{"connect", "exception"})
			testkit.Equal(t, "event", s.Event("exception").Attributes[1], slog.String("exception.message", tc.text))
		}
	}
}

// TestBadConn: database/sql tries again, and each attempt has a span.
func TestBadConn(t *testing.T) {
	attempts := 0
	d := &fakeDriver{answer: func(string, string) error {
		if attempts++; attempts < 3 {
			return driver.ErrBadConn
		}
		return nil
	}}
	db, ctx, end := open(t, d, Options{})
	_, err := db.ExecContext(ctx, "DELETE FROM orders")
	testkit.NoError(t, err)
	spans := end()
	testkit.Equal(t, "tree", tree(spans), []string{"request > DELETE orders", "request > DELETE orders", "request > DELETE orders"})
	testkit.Equal(t, "first", spans[1].Attr("error.type"), any("driver.ErrBadConn"))
	testkit.Equal(t, "last", spans[3].Status, dendro.Status{})
}

func TestCancelledRows(t *testing.T) {
	testkit.NoLeaks(t)
	db, ctx, end := open(t, &fakeDriver{rows: 1 << 40}, Options{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT a FROM orders")
	testkit.NoError(t, err)
	rows.Next()
	cancel()
	for rows.Next() {
	}
	testkit.Equal(t, "error", rows.Err(), context.Canceled)
	rows.Close()
	testkit.Equal(t, "error.type", end()[1].Attr("error.type"), any("context.Canceled"))
}

func TestPanic(t *testing.T) {
	for _, call := range []string{"query", "exec", "prepare", "begin", "rows.close"} {
		db, ctx, end := open(t, &fakeDriver{answer: func(c, _ string) error {
			if c == call {
				panic("driver")
			}
			return nil
		}}, Options{})
		func() {
			defer func() { testkit.Equal(t, "panic", recover(), any("driver")) }()
			switch call {
			case "query":
				db.QueryContext(ctx, "SELECT 1")
			case "rows.close":
				rows, err := db.QueryContext(ctx, "SELECT 1")
				testkit.NoError(t, err)
				rows.Close()
			case "exec":
				db.ExecContext(ctx, "SELECT 1")
			case "prepare":
				db.PrepareContext(ctx, "SELECT 1")
			case "begin":
				db.BeginTx(ctx, nil)
			}
		}()
		testkit.Equal(t, call, end()[1].Status, dendro.Status{Code: dendro.StatusError, Message: "panic"})
	}
}
