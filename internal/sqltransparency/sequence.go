package sqltransparency

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Random returns the script of a seed.
func Random(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 42))
	data := make([]byte, 24+r.IntN(160))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// header is the number of bytes at the start of a script that describe the driver.
const header = 8

// Run makes the calls of a script on a scripted driver that l wraps. For each call it
// returns the resulting calls of the driver and the result. The clock is that of a
// synctest bubble.
func Run(t *testing.T, l Library, data []byte) (trace []string) {
	defer func() {
		if r := recover(); r != nil { // synctest found a deadlock
			trace = append(trace, fmt.Sprint("stopped: ", r))
		}
	}()
	synctest.Test(t, func(*testing.T) {
		s := newSequence(l, data)
		defer func() { trace = s.trace }()
		s.run()
	})
	return trace
}

// WithoutErrors ends the first line of a trace, which describes the driver, if all its
// calls succeed.
const WithoutErrors = ", without errors"

// Difference returns the first call at which two traces differ, as it is in each of
// them. It returns empty strings if they are equal.
func Difference(a, b []string) (inA, inB string) {
	for i := range max(len(a), len(b)) {
		inA, inB = "nothing", "nothing"
		if i < len(a) {
			inA = a[i]
		}
		if i < len(b) {
			inB = b[i]
		}
		if inA != inB {
			return inA, inB
		}
	}
	return "", ""
}

// sequence is a run of a script. At its end it closes everything that is open. It
// closes some things earlier if database/sql would otherwise wait for them forever.
type sequence struct {
	driver  *scriptedDriver
	db      *sql.DB
	plain   bool
	base    context.Context
	data    []byte // calls that are still to come
	trace   []string
	cancels []context.CancelFunc
	limited bool
	rows    []*openRows
	stmts   []*openStmt
	txs     []*openTx
	conns   []*openConn
}

// place is where a call is made: on the database, a connection or a transaction.
type place struct {
	name string
	on   querier
	conn *openConn // nil if not on one
	tx   *openTx   // nil if not in one
}

func (p place) top() bool { return p.conn == nil && p.tx == nil }

type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// plainQuerier has the calls without a context.
type plainQuerier interface {
	Exec(query string, args ...any) (sql.Result, error)
	Query(query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) *sql.Row
	Prepare(query string) (*sql.Stmt, error)
}

type openRows struct {
	rows   *sql.Rows
	where  place
	cancel func()
}

type openStmt struct {
	stmt  *sql.Stmt
	where place
}

type openTx struct {
	tx   *sql.Tx
	conn *openConn
}

type openConn struct{ conn *sql.Conn }

func newSequence(l Library, data []byte) *sequence {
	head := [header]byte{}
	n := copy(head[:], data)
	chaos := head[0] / 2
	if head[0] < 64 {
		chaos = 0
	}
	plain := head[1]%3 == 0
	sh := shape{
		era: int(head[2]) % (eras + 3), conn: uint(head[3]) % (1 << connParts), stmt: uint(head[4]) % (1 << stmtParts),
		rows: uint(head[5]) % (1 << rowsParts), connector: head[6]&1 != 0, withCloser: head[6]&2 != 0,
	}
	if sh.era >= eras {
		sh.era = today
	}
	d := newScriptedDriver(sh, script{data, chaos, plain})
	wrapped := sh.newDriver(d)
	if l.Wrap != nil {
		wrapped = l.Wrap(wrapped)
	}
	s := &sequence{driver: d, plain: plain, data: data[n:], base: context.WithValue(context.Background(), contextKey{}, "request")}
	if l.Context != nil {
		s.base = l.Context(s.base)
	}
	c, err := Open(wrapped, "dsn")
	if err != nil {
		panic(err)
	}
	first := "a driver " + sh.String()
	if chaos == 0 {
		first += WithoutErrors
	}
	s.trace = append(s.trace, first)
	s.db = sql.OpenDB(c)
	return s
}

// choose uses a byte of the script to choose a number below n.
func (s *sequence) choose(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b) % n
}

func pick[T any](s *sequence, from []T) T { return from[s.choose(len(from))] }

// does makes one call and records its result. During the call, methods for which may
// returns true may panic, and cancel may be called.
func (s *sequence) does(what string, may func(string) bool, cancel func(), f func() string) {
	g := gate{cancel: cancel}
	if s.plain {
		g.panics = may
	}
	s.driver.prepare(g)
	result := func() (result string) {
		defer func() {
			if r := recover(); r != nil {
				result = fmt.Sprint("panic: ", r)
			}
		}()
		return f()
	}()
	s.driver.prepare(gate{})
	synctest.Wait()
	s.trace = append(s.trace, fmt.Sprintf("%s\n\t%s\n\t= %s", what, strings.Join(s.driver.take(), "\n\t"), result))
}

func never(string) bool { return false }

// always allows panics in all methods that database/sql calls without holding a lock
// and not in the order of a map.
func always(method string) bool {
	return method != "Columns" && method != "ScanColumn" && method != "stmt.Close"
}

// butNil is always, except that no preparation returns nil, which the pool would keep.
func butNil(method string) bool {
	return always(method) && !strings.HasPrefix(method, "nil from Prepare")
}

func only(names ...string) func(string) bool {
	return func(method string) bool {
		for _, n := range names {
			if strings.HasPrefix(method, n) {
				return true
			}
		}
		return false
	}
}

// request is the context of a call. ctx is nil for a call without one.
type request struct {
	ctx    context.Context
	what   string
	cancel func() // nil if it must not be cancelled now
}

func (r request) orBackground() context.Context {
	if r.ctx == nil {
		return context.Background()
	}
	return r.ctx
}

// request chooses a context. If the call may wait for a connection, the context has a
// deadline.
func (s *sequence) request() request {
	kind := s.choose(10)
	if s.plain {
		kind %= 2
	}
	if s.limited && kind < 4 {
		kind = 9
	}
	// No two deadlines are at the same time.
	timeout := time.Hour + time.Duration(len(s.cancels))*7*time.Microsecond
	ctx, cancel := s.base, context.CancelFunc(nil)
	switch kind {
	case 0, 2:
		return request{what: "no context"}
	case 1, 3:
		return request{s.base, "context", nil}
	case 4:
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	case 5:
		ctx, cancel = context.WithDeadline(ctx, s.driver.epoch.Add(-time.Hour))
	case 6, 7, 8:
		if s.limited {
			ctx, cancel = context.WithTimeout(ctx, timeout)
		} else {
			ctx, cancel = context.WithCancel(ctx)
		}
		s.cancels = append(s.cancels, cancel)
		return request{ctx, "cancellable", cancel}
	case 9:
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	s.cancels = append(s.cancels, cancel)
	return request{ctx, map[int]string{4: "cancelled", 5: "expired", 9: "with deadline"}[kind], nil}
}

// place chooses where to call. It first closes whatever would make database/sql wait
// for itself.
func (s *sequence) place() place {
	kind := s.choose(6)
	if kind >= 4 && len(s.txs) > 0 {
		t := pick(s, s.txs)
		return place{"tx", t.tx, t.conn, t}
	}
	if kind >= 2 && len(s.conns) > 0 {
		c := pick(s, s.conns)
		s.clear(c)
		return place{"conn", c.conn, c, nil}
	}
	return place{"db", s.db, nil, nil}
}

// clear closes everything that holds a connection, because a call that finds the
// connection to be bad waits for it.
func (s *sequence) clear(c *openConn) {
	for _, r := range s.rows {
		if r.where.conn == c {
			s.close(r)
		}
	}
	for _, t := range s.txs {
		if t.conn == c {
			s.does("tx.Rollback", never, nil, func() string { return describe(t.tx.Rollback()) })
		}
	}
	s.rows = remove(s.rows, func(r *openRows) bool { return r.where.conn == c })
	s.txs = remove(s.txs, func(t *openTx) bool { return t.conn == c })
}

func remove[T any](from []T, drop func(T) bool) []T {
	var out []T
	for _, v := range from {
		if !drop(v) {
			out = append(out, v)
		}
	}
	return out
}

var queries = []string{"SELECT a FROM t", "INSERT INTO t VALUES ('x', 1)", "", "UPDATE t SET a = ? -- why", "DELETE FROM t WHERE a IN (1, 2)", "broken 'text"}

// valuer is an argument that implements driver.Valuer.
type valuer struct{ err error }

func (v valuer) Value() (driver.Value, error) { return "valued", v.err }

// pointer panics if it is nil, which database/sql prevents.
type pointer struct{ s string }

func (p pointer) Value() (driver.Value, error) { return p.s, nil }

func (s *sequence) args() []any {
	out := make([]any, s.choose(4))
	var n int64
	for i := range out {
		values := []any{
			1, "text", nil, true, 2.5, []byte("bytes"), times, sql.Named("name", 3), sql.Out{Dest: &n}, sql.Named("out", sql.Out{Dest: &n, In: true}),
			valuer{}, valuer{errPlain}, (*pointer)(nil), &pointer{"p"}, struct{}{}, uint64(1 << 63), Option("option"), sql.NullString{}, sql.Named("", 1),
		}
		out[i] = pick(s, values)
	}
	return out
}

func (s *sequence) run() {
	steps := []func(){
		s.exec, s.exec, s.query, s.query, s.query, s.queryRow, s.prepare, s.prepare, s.begin, s.begin, s.connection, s.ping,
		s.useStmt, s.useStmt, s.useStmt, s.useRows, s.useRows, s.useRows, s.useRows, s.readAll, s.finish, s.finish,
		s.stmtInTx, s.raw, s.cancel, s.cancel, s.configure, s.stats, s.wait, s.closeStmt, s.closeConn,
	}
	for len(s.data) > 0 {
		if b := s.data[0]; b == 255 && len(s.data) < 8 {
			s.does("db.Close", never, nil, func() string { return describe(s.db.Close()) })
		}
		steps[s.choose(len(steps))]()
	}
	s.end()
}

// mayExec and the following functions say which methods may panic during a call
// without making database/sql wait forever afterwards.
func mayExec(place) func(string) bool { return always }

func mayQuery(p place) func(string) bool {
	if p.top() {
		return always
	}
	return never
}

func (s *sequence) exec() {
	p, query, args, r := s.place(), pick(s, queries), s.args(), s.request()
	s.does(fmt.Sprintf("%s.Exec %q %d, %s", p.name, query, len(args), r.what), mayExec(p), r.cancel, func() string {
		if plain, ok := p.on.(plainQuerier); ok && r.ctx == nil {
			return describeExec(plain.Exec(query, args...))
		}
		return describeExec(p.on.ExecContext(r.orBackground(), query, args...))
	})
}

func describeExec(res sql.Result, err error) string {
	if err != nil || res == nil {
		return describe(err)
	}
	ask := func(f func() (int64, error)) (out string) {
		defer func() {
			if r := recover(); r != nil {
				out = fmt.Sprint("panic: ", r)
			}
		}()
		n, err := f()
		return fmt.Sprint(n, " ", describe(err))
	}
	return "affected " + ask(res.RowsAffected) + ", id " + ask(res.LastInsertId)
}

func (s *sequence) query() {
	p, query, args, r := s.place(), pick(s, queries), s.args(), s.request()
	s.does(fmt.Sprintf("%s.Query %q %d, %s", p.name, query, len(args), r.what), mayQuery(p), r.cancel, func() string {
		var rows *sql.Rows
		var err error
		if plain, ok := p.on.(plainQuerier); ok && r.ctx == nil {
			rows, err = plain.Query(query, args...)
		} else {
			rows, err = p.on.QueryContext(r.orBackground(), query, args...)
		}
		s.keepRows(rows, p, r)
		return describe(err)
	})
}

func (s *sequence) keepRows(rows *sql.Rows, p place, r request) {
	if rows != nil {
		s.rows = append(s.rows, &openRows{rows, p, r.cancel})
	}
}

// queryRow does not cancel its context during the call, because it would be chance
// whether the row is closed before it is read.
func (s *sequence) queryRow() {
	p, query, args, r := s.place(), pick(s, queries), s.args(), s.request()
	dest, show := s.dest(false, s.choose(4))
	s.does(fmt.Sprintf("%s.QueryRow %q %d, %s", p.name, query, len(args), r.what), mayQuery(p), nil, func() string {
		var row *sql.Row
		if plain, ok := p.on.(plainQuerier); ok && r.ctx == nil {
			row = plain.QueryRow(query, args...)
		} else {
			row = p.on.QueryRowContext(r.orBackground(), query, args...)
		}
		return describe(row.Err()) + ", " + scanRow(row, dest) + show()
	})
}

// scanRow waits before it scans, as a canceled context closes the row.
func scanRow(row *sql.Row, dest []any) string {
	synctest.Wait()
	return describe(row.Scan(dest...))
}

// dest returns n destinations and a function that formats them.
func (s *sequence) dest(raw bool, n int) (dest []any, show func() string) {
	for range n {
		choices := []any{new(any), new(any), new(string), new(int64), new(sql.NullString), new([]byte), new(time.Time), new(float64), new(bool), new(sql.Rows)}
		if raw {
			choices = append(choices, new(sql.RawBytes))
		}
		dest = append(dest, pick(s, choices))
	}
	return dest, func() string {
		var b strings.Builder
		for _, d := range dest {
			switch d := d.(type) {
			case *any:
				b.WriteString(" " + describeValue(*d))
			case *string:
				b.WriteString(" " + *d)
			case *int64:
				fmt.Fprint(&b, " ", *d)
			case *sql.NullString:
				fmt.Fprint(&b, " ", *d)
			case *[]byte:
				fmt.Fprintf(&b, " %q", *d)
			case *sql.RawBytes:
				fmt.Fprintf(&b, " %q", *d)
			case *time.Time:
				b.WriteString(" " + describeValue(*d))
			case *float64:
				fmt.Fprint(&b, " ", *d)
			case *bool:
				fmt.Fprint(&b, " ", *d)
			case *sql.Rows:
				columns, err := d.Columns()
				fmt.Fprint(&b, " ", columns, describe(err))
			}
		}
		return b.String()
	}
}

func (s *sequence) prepare() {
	p, query, r := s.place(), pick(s, queries), s.request()
	s.does(fmt.Sprintf("%s.Prepare %q, %s", p.name, query, r.what), butNil, r.cancel, func() string {
		var st *sql.Stmt
		var err error
		if plain, ok := p.on.(plainQuerier); ok && r.ctx == nil {
			st, err = plain.Prepare(query)
		} else {
			st, err = p.on.PrepareContext(r.orBackground(), query)
		}
		if st != nil {
			s.stmts = append(s.stmts, &openStmt{st, p})
		}
		return describe(err)
	})
}

func (s *sequence) begin() {
	p, r := s.place(), s.request()
	if p.tx != nil {
		p = place{"db", s.db, nil, nil}
	}
	o := pick(s, []*sql.TxOptions{nil, nil, {}, {ReadOnly: true}, {Isolation: sql.LevelSerializable}, {Isolation: 99, ReadOnly: true}})
	s.does(fmt.Sprintf("%s.BeginTx %+v, %s", p.name, o, r.what), mayQuery(p), r.cancel, func() string {
		var t *sql.Tx
		var err error
		switch {
		case p.conn != nil:
			t, err = p.conn.conn.BeginTx(r.orBackground(), o)
		case r.ctx == nil && o == nil:
			t, err = s.db.Begin()
		default:
			t, err = s.db.BeginTx(r.orBackground(), o)
		}
		if t != nil {
			s.txs = append(s.txs, &openTx{t, p.conn})
		}
		return describe(err)
	})
}

func (s *sequence) connection() {
	r := s.request()
	s.does("db.Conn "+r.what, always, r.cancel, func() string {
		c, err := s.db.Conn(r.orBackground())
		if c != nil {
			s.conns = append(s.conns, &openConn{c})
		}
		return describe(err)
	})
}

func (s *sequence) ping() {
	p, r := s.place(), s.request()
	s.does(p.name+".Ping "+r.what, mayQuery(p), r.cancel, func() string {
		switch {
		case p.tx != nil:
			return "a transaction has no Ping"
		case p.conn != nil:
			return describe(p.conn.conn.PingContext(r.orBackground()))
		case r.ctx == nil:
			return describe(s.db.Ping())
		}
		return describe(s.db.PingContext(r.ctx))
	})
}

func (s *sequence) useStmt() {
	if len(s.stmts) == 0 {
		return
	}
	st, what, args, r := pick(s, s.stmts), s.choose(3), s.args(), s.request()
	if st.where.conn != nil && st.where.tx == nil {
		s.clear(st.where.conn)
	}
	may := never
	if st.where.top() {
		may = butNil
	}
	cancel := r.cancel
	if what == 2 {
		cancel = nil
	}
	dest, show := s.dest(false, s.choose(4))
	s.does(fmt.Sprintf("%s.stmt.%s %d, %s", st.where.name, []string{"Exec", "Query", "QueryRow"}[what], len(args), r.what), may, cancel, func() string {
		switch {
		case what == 0 && r.ctx == nil:
			return describeExec(st.stmt.Exec(args...))
		case what == 0:
			return describeExec(st.stmt.ExecContext(r.ctx, args...))
		case what == 1:
			var rows *sql.Rows
			var err error
			if r.ctx == nil {
				rows, err = st.stmt.Query(args...)
			} else {
				rows, err = st.stmt.QueryContext(r.ctx, args...)
			}
			s.keepRows(rows, st.where, r)
			return describe(err)
		}
		return scanRow(st.stmt.QueryRowContext(r.orBackground(), args...), dest) + show()
	})
}

func (s *sequence) mayRows(r *openRows) func(string) bool {
	if r.where.top() {
		return always
	}
	return only("Next", "HasNext", "ColumnType")
}

func (s *sequence) useRows() {
	if len(s.rows) == 0 {
		return
	}
	r := pick(s, s.rows)
	switch what := s.choose(8); what {
	default:
		dest, show := s.dest(s.plain && r.where.top(), s.choose(4))
		s.does("rows.Next", s.mayRows(r), r.cancel, func() string { return fmt.Sprint(r.rows.Next()) })
		s.does(fmt.Sprint("rows.Scan ", len(dest)), s.mayRows(r), nil, func() string { return describe(r.rows.Scan(dest...)) + show() })
	case 4:
		s.does("rows.ColumnTypes", s.mayRows(r), r.cancel, func() string {
			columns, err := r.rows.Columns()
			types, typesErr := r.rows.ColumnTypes()
			out := fmt.Sprint(columns, describe(err), describe(typesErr))
			for _, c := range types {
				length, hasLength := c.Length()
				precision, scale, hasPrecision := c.DecimalSize()
				nullable, hasNullable := c.Nullable()
				out += fmt.Sprintln("", c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, hasPrecision, nullable, hasNullable)
			}
			return out
		})
	case 5:
		s.does("rows.NextResultSet", s.mayRows(r), r.cancel, func() string { return fmt.Sprint(r.rows.NextResultSet()) })
	case 6:
		s.does("rows.Err", never, nil, func() string { return describe(r.rows.Err()) })
	case 7:
		s.close(r)
	}
}

func (s *sequence) close(r *openRows) {
	s.does("rows.Close", s.mayRows(r), nil, func() string { return describe(r.rows.Close()) })
}

func (s *sequence) readAll() {
	if len(s.rows) == 0 {
		return
	}
	r := pick(s, s.rows)
	s.does("all rows", s.mayRows(r), r.cancel, func() string {
		out := ""
		for more := true; more; more = r.rows.NextResultSet() {
			columns, err := r.rows.Columns()
			out += fmt.Sprint(columns, describe(err))
			for r.rows.Next() {
				synctest.Wait()
				values, dest := make([]any, len(columns)), make([]any, len(columns))
				for i := range dest {
					dest[i] = &values[i]
				}
				out += " row " + describe(r.rows.Scan(dest...))
				for _, v := range values {
					out += " " + describeValue(v)
				}
			}
			synctest.Wait()
		}
		return out + " end " + describe(r.rows.Err())
	})
	s.close(r)
}

// finish ends a transaction.
func (s *sequence) finish() {
	if len(s.txs) == 0 {
		return
	}
	t, commit := pick(s, s.txs), s.choose(3) > 0
	may := never
	if t.conn == nil {
		may = only("Commit", "Rollback")
	}
	if commit {
		s.does("tx.Commit", may, nil, func() string { return describe(t.tx.Commit()) })
	} else {
		s.does("tx.Rollback", may, nil, func() string { return describe(t.tx.Rollback()) })
	}
}

func (s *sequence) stmtInTx() {
	if len(s.txs) == 0 || len(s.stmts) == 0 {
		return
	}
	t, st, r := pick(s, s.txs), pick(s, s.stmts), s.request()
	s.does("tx.Stmt "+r.what, never, r.cancel, func() string {
		in := t.tx.StmtContext(r.orBackground(), st.stmt)
		s.stmts = append(s.stmts, &openStmt{in, place{"tx", t.tx, t.conn, t}})
		return "a statement"
	})
}

func (s *sequence) raw() {
	if len(s.conns) == 0 {
		return
	}
	c, kind := pick(s, s.conns), s.choose(6)
	s.clear(c)
	s.does("conn.Raw", never, nil, func() string {
		return describe(c.conn.Raw(func(any) error {
			if kind == 5 {
				panic("scripted panic in Raw")
			}
			return []error{nil, nil, errPlain, driver.ErrBadConn, errWrapped}[kind]
		}))
	})
}

// cancel cancels the context of an earlier call.
func (s *sequence) cancel() {
	if len(s.cancels) == 0 {
		return
	}
	cancel := pick(s, s.cancels)
	s.does("cancel", never, nil, func() string { cancel(); return "" })
}

func (s *sequence) configure() {
	if s.plain {
		s.does("db.SetMaxIdleConns", never, nil, func() string { s.db.SetMaxIdleConns(s.choose(3) - 1); return "" })
		return
	}
	switch n := s.choose(3); s.choose(4) {
	case 0:
		s.limited = n > 0
		s.does(fmt.Sprint("db.SetMaxOpenConns ", n), never, nil, func() string { s.db.SetMaxOpenConns(n); return "" })
	case 1:
		s.does(fmt.Sprint("db.SetMaxIdleConns ", n-1), never, nil, func() string { s.db.SetMaxIdleConns(n - 1); return "" })
	case 2:
		s.does(fmt.Sprint("db.SetConnMaxLifetime ", n), never, nil, func() string { s.db.SetConnMaxLifetime(time.Duration(n) * time.Second); return "" })
	case 3:
		s.does(fmt.Sprint("db.SetConnMaxIdleTime ", n), never, nil, func() string { s.db.SetConnMaxIdleTime(time.Duration(n) * time.Second); return "" })
	}
}

func (s *sequence) stats() {
	s.does("db.Stats", never, nil, func() string { return fmt.Sprintf("%+v", s.db.Stats()) })
}

// wait advances the clock of the bubble by a time of which no timeout is a multiple.
func (s *sequence) wait() {
	s.does("time passes", never, nil, func() string { time.Sleep(2437 * time.Millisecond); return "" })
}

func (s *sequence) closeStmt() {
	if len(s.stmts) == 0 {
		return
	}
	st := pick(s, s.stmts)
	may := never
	if st.where.top() {
		may = only("stmt.Close")
	}
	s.does(st.where.name+".stmt.Close", may, nil, func() string { return describe(st.stmt.Close()) })
}

func (s *sequence) closeConn() {
	if len(s.conns) == 0 {
		return
	}
	c := pick(s, s.conns)
	s.clear(c)
	s.does("conn.Close", only("conn.Close", "IsValid"), nil, func() string { return describe(c.conn.Close()) })
}

// end closes everything. Nothing panics during that, whatever the script says.
func (s *sequence) end() {
	s.stats()
	for _, r := range s.rows {
		s.does("rows.Close", never, nil, func() string { return describe(errors.Join(r.rows.Close(), r.rows.Err())) })
	}
	for _, t := range s.txs {
		s.does("tx.Rollback", never, nil, func() string { return describe(t.tx.Rollback()) })
	}
	for _, st := range s.stmts {
		s.does("stmt.Close", never, nil, func() string { return describe(st.stmt.Close()) })
	}
	for _, c := range s.conns {
		s.does("conn.Close", never, nil, func() string { return describe(c.conn.Close()) })
	}
	for _, cancel := range s.cancels {
		cancel()
	}
	s.does("db.Close", never, nil, func() string { return describe(s.db.Close()) })
	s.stats()
}
