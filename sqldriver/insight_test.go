package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/sqltext"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestConnectIsAnEvent(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{rows: 1}, Options{})
	for range 2 {
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
	}
	spans := end()
	testkit.Equal(t, "the first", eventNames(spans[1]), []string{"connect"})
	testkit.Equal(t, "the second", eventNames(spans[2]), []string(nil))
	testkit.Equal(t, "begins with the connection", spans[1].Start <= spans[1].Event("connect").Time, true)
}

// Opening a connection on its own is not part of the statement that later uses it.
func TestConnectWithoutStatement(t *testing.T) {
	for name, connect := range map[string]func(context.Context, *sql.DB) (*sql.Conn, error){
		"Conn":         func(ctx context.Context, db *sql.DB) (*sql.Conn, error) { return db.Conn(ctx) },
		"Conn of a DB": func(ctx context.Context, db *sql.DB) (*sql.Conn, error) { return NewDB(db).Conn(ctx) },
		"Ping": func(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
			err := db.PingContext(ctx)
			conn, _ := db.Conn(context.Background())
			return conn, err
		},
		"Ping of a DB": func(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
			err := NewDB(db).PingContext(ctx)
			conn, _ := db.Conn(context.Background())
			return conn, err
		},
	} {
		db, ctx, end := open(t, &fakeDriver{}, Options{})
		conn, err := connect(ctx, db)
		testkit.NoError(t, err)
		time.Sleep(2 * minPoolWait)
		connected := time.Now().UnixNano()
		_, err = conn.ExecContext(ctx, "UPDATE orders SET a = 1")
		testkit.NoError(t, errors.Join(err, conn.Close()))
		s := end()[1]
		testkit.Equal(t, name, eventNames(s), []string(nil))
		testkit.Equal(t, name+": begins with the statement", s.Start >= connected, true)
	}
}

// Nor is opening it for a call that executed nothing.
func TestConnectOfRefusedArguments(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{open: func() driver.Conn { return resetConn{&fakeConn{&fakeDriver{}}} }}, Options{})
	_, err := db.ExecContext(ctx, "UPDATE orders SET a = ?", struct{}{})
	testkit.Equal(t, "refused", err != nil, true)
	_, err = db.ExecContext(ctx, "UPDATE orders SET a = 1")
	testkit.NoError(t, err)
	testkit.Equal(t, "events", eventNames(end()[1]), []string(nil))
}

type resetConn struct{ *fakeConn }

func (resetConn) ResetSession(context.Context) error { return nil }

// A call that waits for the only connection records the wait.
func TestPoolWait(t *testing.T) {
	calls := map[string]func(ctx context.Context, db *DB) error{
		"SELECT a": func(ctx context.Context, db *DB) error {
			rows, err := db.QueryContext(ctx, "SELECT 1 FROM a")
			return errors.Join(err, rows.Close())
		},
		"SELECT b": func(ctx context.Context, db *DB) error {
			return db.QueryRowContext(ctx, "SELECT 1 FROM b").Scan(new(int))
		},
		"UPDATE c": func(ctx context.Context, db *DB) error {
			_, err := db.ExecContext(ctx, "UPDATE c SET x = 1")
			return err
		},
		"PREPARE SELECT d": func(ctx context.Context, db *DB) error {
			stmt, err := db.PrepareContext(ctx, "SELECT 1 FROM d")
			return errors.Join(err, stmt.Close())
		},
		"transaction": func(ctx context.Context, db *DB) error {
			tx, err := db.BeginTx(ctx, nil)
			return errors.Join(err, tx.Commit())
		},
		"SELECT e": func(ctx context.Context, db *DB) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			_, err = conn.ExecContext(ctx, "SELECT 1 FROM e") // which does not wait any more
			return errors.Join(err, conn.Close())
		},
		"SELECT f": func(ctx context.Context, db *DB) error {
			_, err := db.DB.ExecContext(WithPoolWait(ctx, nil), "SELECT 1 FROM f")
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			pool, ctx, end := open(t, &fakeDriver{rows: 1}, Options{})
			pool.SetMaxOpenConns(1)
			db := NewDB(pool)
			busy, err := pool.Conn(context.Background())
			testkit.NoError(t, err)
			done := make(chan error)
			go func() { done <- call(ctx, db) }()
			for pool.Stats().WaitCount == 0 {
				time.Sleep(time.Millisecond)
			}
			began := time.Now()
			for time.Since(began) < 2*minPoolWait {
			}
			busy.Close()
			testkit.NoError(t, <-done)
			s := end()[1]
			testkit.Equal(t, "name", s.Name, name)
			e := s.Event("pool wait")
			if name == "SELECT e" {
				testkit.Equal(t, "event", e == nil, true)
				return
			}
			if e == nil {
				t.Fatal("no event")
			}
			testkit.Equal(t, "the span includes it", e.Time == s.Start && e.Duration >= minPoolWait && e.Duration <= time.Duration(s.End-s.Start), true)
			if name != "SELECT f" {
				testkit.Equal(t, "max, used", fmt.Sprint(e.Attributes[:2]), "[db.client.connection.max=1 db.client.connection.used=1]")
			}
		})
	}
}

// A call that never gets a connection has a span.
func TestPoolWaitFails(t *testing.T) {
	pool, ctx, end := open(t, &fakeDriver{}, Options{})
	pool.SetMaxOpenConns(1)
	db := NewDB(pool)
	busy, err := pool.Conn(context.Background())
	testkit.NoError(t, err)
	short, cancel := context.WithTimeout(ctx, 1000*minPoolWait)
	defer cancel()
	testkit.Equal(t, "error", db.QueryRowContext(short, "SELECT 1 FROM a").Err(), context.DeadlineExceeded)
	testkit.NoError(t, busy.Close())
	_, err = db.ExecContext(ctx, "UPDATE b SET x = ?", struct{ secret string }{}) // the argument is refused, not the connection
	testkit.Equal(t, "refused", err != nil, true)
	_, err = db.ExecContext(ctx, "UPDATE b SET x = ?", failingValuer{})
	testkit.Equal(t, "refused", errors.Is(err, context.Canceled), true)
	testkit.Equal(t, "not without a span", db.PingContext(context.Background()), error(nil))
	testkit.NoError(t, db.Close())
	_, err = db.ExecContext(ctx, "UPDATE c SET x = 1")
	testkit.Equal(t, "closed", err != nil, true)
	spans := end()
	testkit.Equal(t, "spans", tree(spans), []string{"request > SELECT a", "request > UPDATE c"})
	testkit.Equal(t, "error.type", spans[1].Attr("error.type"), any("context.DeadlineExceeded"))
	testkit.Equal(t, "wait", spans[1].Event("pool wait") != nil, true)
	testkit.Equal(t, "closed", spans[2].Status.Message, "sql: database is closed")
}

type failingValuer struct{}

func (failingValuer) Value() (driver.Value, error) { return nil, context.Canceled }

// A call that waits while another goroutine opens its connection gets the error of
// opening it.
func TestPoolWaitIsRefused(t *testing.T) {
	d := &fakeDriver{}
	pool, ctx, end := open(t, d, Options{})
	pool.SetMaxOpenConns(1)
	busy, err := pool.Conn(context.Background())
	testkit.NoError(t, err)
	done := make(chan error)
	go func() {
		_, err := NewDB(pool).ExecContext(ctx, "UPDATE a SET x = 1")
		done <- err
	}()
	for pool.Stats().WaitCount == 0 {
		time.Sleep(time.Millisecond)
	}
	for waits := time.Now(); time.Since(waits) < 2*minPoolWait; { // shorter ones are not recorded
		time.Sleep(minPoolWait)
	}
	d.refuse = errors.New("connection refused")
	testkit.Equal(t, "bad", busy.Raw(func(any) error { return driver.ErrBadConn }), driver.ErrBadConn)
	testkit.Equal(t, "error", <-done, d.refuse)
	spans := end()
	testkit.Equal(t, "spans", tree(spans), []string{"request > UPDATE a"})
	testkit.Equal(t, "message", spans[1].Status.Message, "connection refused")
	testkit.Equal(t, "wait", spans[1].Event("pool wait") != nil, true)
}

func TestRepeatedStatements(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{rows: 1}, Options{})
	item := func(ctx context.Context, id int) {
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM items WHERE id = ?", id).Scan(new(int)))
	}
	for i := range 7 {
		item(ctx, i)
	}
	for range sqltext.Repeated - 1 {
		_, err := db.ExecContext(ctx, "UPDATE orders SET x = 1")
		testkit.NoError(t, err)
	}
	below, other := dendro.Start(ctx, "other")
	item(below, 1)
	other.End()
	tx, err := db.BeginTx(ctx, nil)
	testkit.NoError(t, err)
	for range sqltext.Repeated {
		_, err := tx.ExecContext(ctx, "INSERT INTO lines VALUES (?)", 1)
		testkit.NoError(t, err)
	}
	testkit.NoError(t, tx.Commit())

	for _, s := range end() {
		count := map[string]any{}
		for _, a := range s.Attributes {
			if strings.HasPrefix(a.Key, "dendro.db.repeated") {
				count[a.Key] = a.Value.Any()
			}
		}
		switch s.Name {
		case "request":
			testkit.Equal(t, "marked", count, map[string]any{"dendro.db.repeated": true, "dendro.db.repeated.SELECT items": int64(7)})
			e := s.Event("repeated statement")
			text := fmt.Sprint(e.Attributes)
			for _, want := range []string{"SELECT a FROM items WHERE id = ?", "TestRepeatedStatements", "insight_test.go", "code.line.number"} {
				if !strings.Contains(text, want) {
					t.Errorf("the event has no %q: %s", want, text)
				}
			}
			testkit.Equal(t, "once", len(s.Events), 1)
		case "transaction":
			testkit.Equal(t, "marked", count, map[string]any{"dendro.db.repeated": true, "dendro.db.repeated.INSERT lines": int64(sqltext.Repeated)})
		default:
			testkit.Equal(t, s.Name, count, map[string]any{})
		}
	}
}

// Statements that differ only in a name do not count as repeated.
func TestNamesTellStatementsApart(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{rows: 1}, Options{System: "sqlite"})
	for range sqltext.Repeated - 1 {
		for _, column := range []string{"key", "name"} {
			query := `SELECT value FROM settings WHERE "` + column + `" = ?`
			testkit.NoError(t, db.QueryRowContext(ctx, query, 1).Scan(new(int)))
		}
	}
	spans := end()
	testkit.Equal(t, "one", spans[1].Attr("db.query.text"), any(`SELECT value FROM settings WHERE "key" = ?`))
	testkit.Equal(t, "another", spans[2].Attr("db.query.text"), any(`SELECT value FROM settings WHERE "name" = ?`))
	testkit.Equal(t, "repeated", spans[0].Attr("dendro.db.repeated"), any(nil))
}

// Statements that differ only in literals are repeated if they come from one place.
// Other statements with the same summary do not hide that.
func TestRepeatedWhere(t *testing.T) {
	db, ctx, end := open(t, &fakeDriver{}, Options{})
	update := func(set string) {
		_, err := db.ExecContext(ctx, "UPDATE items SET "+set)
		testkit.NoError(t, err)
	}
	for i := range 9 {
		update(fmt.Sprintf("a = %d", i))
	}
	spans := end()
	testkit.Equal(t, "literals", spans[0].Attr("dendro.db.repeated.UPDATE items"), any(int64(9)))

	db, ctx, end = open(t, &fakeDriver{}, Options{})
	for range 9 {
		update("a = 1")
		update("b = 1")
	}
	for range sqltext.Repeated {
		update("c = 1")
	}
	s := end()[0]
	testkit.Equal(t, "the highest", s.Attr("dendro.db.repeated.UPDATE items"), any(int64(9)))
	testkit.Equal(t, "events", eventNames(s), []string{"repeated statement", "repeated statement", "repeated statement"})

	db, ctx, end = open(t, &fakeDriver{}, Options{})
	execute := func() {
		_, err := db.ExecContext(ctx, "UPDATE items SET a = 1")
		testkit.NoError(t, err)
	}
	for range sqltext.Repeated - 2 {
		execute()
		_, err := db.ExecContext(ctx, "UPDATE items SET a = 1")
		testkit.NoError(t, err)
	}
	testkit.Equal(t, "at two places", len(end()[0].Events), 0)
}

func TestSlowStatements(t *testing.T) {
	for name, c := range map[string]struct {
		slow time.Duration
		want bool
	}{"default": {0, false}, "always": {1, true}, "never": {-1, false}} {
		db, ctx, end := open(t, &fakeDriver{rows: 1}, Options{Slow: c.slow})
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
		rows, err := db.QueryContext(ctx, "SELECT b FROM orders")
		testkit.NoError(t, errors.Join(err, rows.Close()))
		_, err = db.ExecContext(ctx, "UPDATE orders SET a = 1")
		testkit.NoError(t, err)
		for _, s := range end()[1:] {
			place, _ := s.Attr("code.function.name").(string)
			want := c.want
			testkit.Equal(t, name+": "+s.Name, strings.HasSuffix(place, "sqldriver.TestSlowStatements"), want)
			file, _ := s.Attr("code.file.path").(string)
			testkit.Equal(t, name+": file", strings.HasSuffix(file, "insight_test.go"), want)
		}
	}
}

func TestComments(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT a FROM orders":                               "SELECT a FROM orders /*traceparent='%s'*/",
		"SELECT a FROM orders; ":                             "SELECT a FROM orders /*traceparent='%s'*/; ",
		"SELECT a /* mine */ FROM b":                         "SELECT a /* mine */ FROM b",
		"SELECT a FROM b -- the end":                         "SELECT a FROM b -- the end",
		"SELECT a FROM b # the end":                          "SELECT a FROM b # the end",
		"SELECT '--' FROM b":                                 "SELECT '--' FROM b",
		";":                                                  ";",
		"CREATE VIEW a AS SELECT 1":                          "CREATE VIEW a AS SELECT 1",
		"alter table a add b int":                            "alter table a add b int",
		"SELECT 1; CREATE VIEW a AS SELECT 1":                "SELECT 1; CREATE VIEW a AS SELECT 1",
		"PREPARE a AS SELECT 1":                              "PREPARE a AS SELECT 1",
		"WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a": "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a /*traceparent='%s'*/",
		"INSERT INTO a VALUES (1)\n;\n":                      "INSERT INTO a VALUES (1) /*traceparent='%s'*/\n;\n",
	} {
		var seen string
		d := &fakeDriver{rows: 1, answer: func(call, query string) error {
			if query != "" {
				seen = query
			}
			return nil
		}}
		db, ctx, end := open(t, d, Options{Comments: true})
		testkit.NoError(t, db.QueryRowContext(ctx, query).Scan(new(int)))
		queried := seen
		_, err := db.ExecContext(ctx, query)
		testkit.NoError(t, err)
		executed := seen
		stmt, err := db.PrepareContext(ctx, query)
		testkit.NoError(t, err)
		testkit.Equal(t, "prepared", seen, query)
		testkit.NoError(t, stmt.Close())
		testkit.NoError(t, db.QueryRowContext(context.Background(), query).Scan(new(int)))
		testkit.Equal(t, "without a span", seen, query)
		spans := end()
		for i, text := range []string{queried, executed} {
			id := spans[i+1].SpanContext.Traceparent()
			testkit.Equal(t, query, text, strings.ReplaceAll(want, "%s", id))
		}
		if text, _ := spans[1].Attr("db.query.text").(string); strings.Contains(text, "traceparent") {
			t.Errorf("the span has the comment: %s", text)
		}
	}
}

func TestArgs(t *testing.T) {
	args := func(query string, a driver.NamedValue) (string, bool) {
		return fmt.Sprint(len(query), ":", a.Value), a.Value != "secret"
	}
	d := &fakeDriver{rows: 1}
	db, ctx, end := open(t, d, Options{Args: args})
	_, err := db.ExecContext(ctx, "UPDATE a SET b = ?, c = ?, d = ?", 7, "secret", true)
	testkit.NoError(t, err)
	stmt, err := db.PrepareContext(ctx, "SELECT 1")
	testkit.NoError(t, err)
	testkit.NoError(t, stmt.QueryRowContext(ctx, 8).Scan(new(int)))
	testkit.NoError(t, stmt.Close())
	spans := end()
	testkit.Equal(t, "first", spans[1].Attr("db.query.parameter.0"), any("32:7"))
	testkit.Equal(t, "left out", spans[1].Attr("db.query.parameter.1"), nil)
	testkit.Equal(t, "third", spans[1].Attr("db.query.parameter.2"), any("32:true"))
	testkit.Equal(t, "prepared", spans[3].Attr("db.query.parameter.0"), any("8:8"))

	db, ctx, end = open(t, d, Options{})
	_, err = db.ExecContext(ctx, "UPDATE a SET b = ?", 7)
	testkit.NoError(t, err)
	testkit.Equal(t, "by default none", end()[1].Attr("db.query.parameter.0"), nil)

	named := execution{db: &database{options: Options{Args: args}}, statement: &statement{}}
	tracer, recorder := testkit.NewTracer(t)
	_, named.span = tracer.Start(context.Background(), "x")
	named.recordArgs([]driver.NamedValue{{Name: "id", Ordinal: 1, Value: 5}})
	named.span.End()
	testkit.Equal(t, "named", recorder.Spans()[0].Attr("db.query.parameter.id"), any("0:5"))
}

func TestExplain(t *testing.T) {
	var mu sync.Mutex
	var explained []string
	d := &fakeDriver{rows: 1, answer: func(call, query string) error {
		if strings.HasPrefix(query, "EXPLAIN") || call == "begin" || call == "rollback" {
			mu.Lock()
			defer mu.Unlock()
			explained = append(explained, call+": "+query)
		}
		return nil
	}}
	tracer, recorder := testkit.NewTracer(t)
	db := sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{System: "postgresql", Explain: 1}))
	defer db.Close()
	ctx, request := tracer.Start(context.Background(), "request")
	query := func(text string) {
		rows, err := db.QueryContext(ctx, text, 7)
		testkit.NoError(t, err)
		for rows.Next() {
		}
		testkit.NoError(t, rows.Close())
	}
	query("UPDATE orders SET a = 1 RETURNING b")
	query("SELECT a FROM orders WHERE id = $1")
	query("SELECT a FROM orders WHERE id = $1") // again
	query("SELECT b FROM orders WHERE id = $1") // soon after
	request.End()
	spans := recorder.Wait(t, 6)
	testkit.Equal(t, "explained", explained,
		[]string{"begin: READ ONLY", "query: EXPLAIN SELECT a FROM orders WHERE id = $1", "rollback: "})
	for _, s := range spans {
		if s.Name == "EXPLAIN SELECT orders" {
			testkit.Equal(t, "plan", s.Attr("dendro.db.plan"), any("?"))
			testkit.Equal(t, "below the query", s.ParentID, spans[2].SpanID)
			testkit.Equal(t, "query", spans[2].Name, "SELECT orders")
			return
		}
	}
	t.Errorf("no plan: %v", testkit.Names(spans))
}

// A query gets a plan even if its rows are not read.
func TestExplainWithoutRows(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	db := sql.OpenDB(WrapConnector(dsnConnector{"", &fakeDriver{}}, Options{System: "postgresql", Explain: 1}))
	defer db.Close()
	ctx, request := tracer.Start(context.Background(), "request")
	rows, err := db.QueryContext(ctx, "SELECT a FROM orders")
	testkit.NoError(t, errors.Join(err, rows.Close()))
	request.End()
	testkit.Equal(t, "spans", testkit.Names(recorder.Wait(t, 3)), []string{"request", "SELECT orders", "EXPLAIN SELECT orders"})
}

// If there is no plan, the program sees no error.
func TestExplainFails(t *testing.T) {
	d := &fakeDriver{rows: 1, answer: func(_, query string) error {
		if strings.HasPrefix(query, "EXPLAIN") {
			return errors.New("no such plan: 'secret'")
		}
		return nil
	}}
	tracer, recorder := testkit.NewTracer(t)
	db := sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{System: "postgresql", Explain: 1}))
	defer db.Close()
	ctx, request := tracer.Start(context.Background(), "request")
	testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
	request.End()
	for _, s := range recorder.Wait(t, 3) {
		testkit.Equal(t, s.Name, s.Status.Code, dendro.StatusUnset)
		if strings.HasPrefix(s.Name, "EXPLAIN") {
			testkit.Equal(t, "plan", s.Attr("dendro.db.plan"), any("no plan: no such plan: '?'"))
		}
	}
}

// argsConn accepts arguments of all types and records them.
type argsConn struct {
	*fakeConn
	see func(query string, args []driver.NamedValue)
}

func (c argsConn) CheckNamedValue(*driver.NamedValue) error { return nil }

func (c argsConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.see(query, args)
	return c.fakeConn.QueryContext(ctx, query, args)
}

// The program may modify the arguments once the query has returned.
func TestExplainArgs(t *testing.T) {
	changed, seen := make(chan struct{}), make(chan string, 1)
	see := func(query string, args []driver.NamedValue) {
		if strings.HasPrefix(query, "EXPLAIN") {
			<-changed
			seen <- string(args[0].Value.([]byte))
		}
	}
	d := &fakeDriver{open: func() driver.Conn { return argsConn{&fakeConn{&fakeDriver{rows: 1}}, see} }}
	tracer, recorder := testkit.NewTracer(t)
	db := sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{System: "postgresql", Explain: 1}))
	defer db.Close()
	ctx, request := tracer.Start(context.Background(), "request")
	arg := []byte("before")
	testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders WHERE b = $1", arg).Scan(new(int)))
	copy(arg, "after!")
	close(changed)
	testkit.Equal(t, "argument", <-seen, "before")
	request.End()
	recorder.Wait(t, 3)

	type id [16]byte
	for _, c := range []struct {
		value any
		want  bool
	}{
		{nil, true}, {7, true}, {int64(7), true}, {2.5, true}, {true, true}, {"a", true}, {time.Now(), true}, {[]byte("a"), true},
		{id{}, true}, {[2][2]string{}, true}, {time.Second, true},
		{new(int), false}, {[]int{1}, false}, {map[string]int{}, false}, {sql.NullString{}, false}, {[1]*int{}, false},
		{func() {}, false}, {make(chan int), false},
	} {
		got := copyArgs([]driver.NamedValue{{Value: c.value}})
		testkit.Equal(t, fmt.Sprintf("%T", c.value), got != nil, c.want)
	}
}

// Closing a DB leaves no EXPLAIN running. Only one runs at a time.
func TestExplainEndsWithClose(t *testing.T) {
	for _, closes := range []bool{false, true} { // the driver's connector
		synctest.Test(t, func(t *testing.T) {
			began, ended, closed := 0, false, false
			see := func(ctx context.Context) {
				began++
				<-ctx.Done()
				for range 1000 {
					runtime.Gosched()
				}
				ended = !closed
			}
			var c driver.Connector = dsnConnector{"", &fakeDriver{open: func() driver.Conn { return explainConn{&fakeConn{&fakeDriver{rows: 1}}, see} }}}
			if closes {
				c = closingConnector{c, &closed}
			}
			tracer, recorder := testkit.NewTracer(t)
			db := sql.OpenDB(WrapConnector(c, Options{System: "postgresql", Explain: 1}))
			ctx, request := tracer.Start(context.Background(), "request")
			testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
			time.Sleep(2 * explainPause)
			testkit.NoError(t, db.QueryRowContext(ctx, "SELECT b FROM orders").Scan(new(int)))
			rows, err := db.QueryContext(ctx, "SELECT c FROM orders")
			testkit.Equal(t, "a row", rows.Next(), true)
			testkit.NoError(t, errors.Join(err, db.Close()))
			testkit.Equal(t, "ended before Close did", ended, true)
			testkit.Equal(t, "the driver's own is closed", closed, closes)
			time.Sleep(explainPause)
			testkit.NoError(t, rows.Close())
			synctest.Wait()
			testkit.Equal(t, "began", began, 1)
			request.End()
			testkit.Equal(t, "spans", len(recorder.Spans()), 5)
		})
	}
}

// explainConn records the context of an EXPLAIN.
type explainConn struct {
	*fakeConn
	see func(context.Context)
}

func (c explainConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if strings.HasPrefix(query, "EXPLAIN") {
		c.see(ctx)
	} else {
		time.Sleep(time.Millisecond) // in the bubble, nothing else takes time
	}
	return c.fakeConn.QueryContext(ctx, query, args)
}

func TestExplainNever(t *testing.T) {
	for name, o := range map[string]Options{
		"by default":     {},
		"fast":           {Explain: time.Hour},
		"unknown system": {Explain: 1, System: "trino"},
	} {
		d := &fakeDriver{rows: 1}
		db, ctx, end := open(t, d, o)
		rows, err := db.QueryContext(ctx, "SELECT a FROM orders")
		testkit.NoError(t, err)
		for rows.Next() {
		}
		testkit.NoError(t, errors.Join(rows.Close(), db.Close()))
		testkit.Equal(t, name, tree(end()), []string{"request > SELECT orders"})
	}
}

// A long plan is cut, with and without RawStatements.
func TestLongPlan(t *testing.T) {
	for _, raw := range []bool{false, true} {
		d := &fakeDriver{rows: 10_000}
		tracer, recorder := testkit.NewTracer(t)
		db := sql.OpenDB(WrapConnector(dsnConnector{"", d}, Options{System: "sqlite", Explain: 1, RawStatements: raw}))
		defer db.Close()
		ctx, request := tracer.Start(context.Background(), "request")
		testkit.NoError(t, db.QueryRowContext(ctx, "SELECT a FROM orders").Scan(new(int)))
		request.End()
		plan, _ := recorder.Wait(t, 3)[2].Attr("dendro.db.plan").(string)
		if len(plan) < 1000 || len(plan) > maxPlan {
			t.Errorf("a plan of %d bytes", len(plan))
		}
	}
}
