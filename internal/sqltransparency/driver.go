package sqltransparency

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// scriptedDriver responds as its script says and records every call. The methods of a
// driver's values are in separate structs, which a shape combines.
type scriptedDriver struct {
	shape  shape
	script script
	epoch  time.Time

	mu      sync.Mutex
	calls   []string       // since the last take; guarded by mu
	counts  map[string]int // calls of each object's methods so far; guarded by mu
	objects map[string]int // of each kind so far; guarded by mu
	ready   gate           // guarded by mu
}

// gate says what may happen during an operation.
type gate struct {
	panics func(method string) bool // nil: no method
	cancel func()                   // of the context of the operation, nil if it must last
}

// script determines all responses. It may be any sequence of bytes.
type script struct {
	data  []byte
	chaos byte // of 256 calls about so many are answered strangely
	plain bool // no contexts and no limits: all calls come from the caller's goroutine
}

// at returns the byte for the n-th use of name. It does not depend on the uses of
// other names.
func (s script) at(name string, n int) int {
	h := fnv.New32a()
	fmt.Fprint(h, name, n)
	sum := h.Sum32()
	if len(s.data) == 0 {
		return 0
	}
	return int(s.data[sum%uint32(len(s.data))] ^ byte(sum>>16))
}

// codedError is an error with a type of its own.
type codedError struct{ code int }

func (e *codedError) Error() string { return fmt.Sprintf("scripted error %d", e.code) }

var (
	errPlain   = errors.New("scripted error")
	errCoded   = &codedError{7}
	errWrapped = fmt.Errorf("scripted: %w", driver.ErrBadConn)
)

// known are errors that are compared by identity.
var known = []struct {
	name string
	err  error
}{
	{"errPlain", errPlain}, {"errCoded", errCoded}, {"errWrapped", errWrapped}, {"ErrBadConn", driver.ErrBadConn},
	{"ErrSkip", driver.ErrSkip}, {"ErrRemoveArgument", driver.ErrRemoveArgument}, {"EOF", io.EOF},
	{"Canceled", context.Canceled}, {"DeadlineExceeded", context.DeadlineExceeded}, {"ErrNoRows", sql.ErrNoRows},
	{"ErrTxDone", sql.ErrTxDone}, {"ErrConnDone", sql.ErrConnDone},
}

// describe names an error, and the errors that it wraps, by identity.
func describe(err error) string {
	if err == nil {
		return "ok"
	}
	out := addresses.ReplaceAllString(fmt.Sprintf("%T %q", err, err.Error()), "0x")
	for _, k := range known {
		if err == k.err { //nolint:errorlint // identity is what is asked
			return k.name
		}
		if errors.Is(err, k.err) {
			out += " is " + k.name
		}
	}
	return out
}

type contextKey struct{}

// describeContext describes what a driver can see of a context.
func (d *scriptedDriver) describeContext(ctx context.Context) string {
	out := "live"
	if ctx.Err() != nil {
		out = ctx.Err().Error()
	} else if ctx.Done() == nil {
		out = "endless"
	}
	if t, ok := ctx.Deadline(); ok {
		out += " until " + t.Sub(d.epoch).String()
	}
	if v := ctx.Value(contextKey{}); v != nil {
		out += fmt.Sprint(" value ", v)
	}
	return "(" + out + ")"
}

func describeArgs(args []driver.NamedValue) string {
	var b strings.Builder
	for _, a := range args {
		fmt.Fprintf(&b, " %s%d:%s", a.Name, a.Ordinal, describeValue(a.Value))
		if out, ok := a.Value.(sql.Out); ok {
			if dest, ok := out.Dest.(*int64); ok {
				*dest = 42
			}
		}
	}
	return b.String()
}

func describeValues(args []driver.Value) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(" " + describeValue(a))
	}
	return b.String()
}

// describeValue does not follow pointers, because their addresses differ.
func describeValue(v any) string {
	switch v := v.(type) {
	case sql.Out:
		return fmt.Sprintf("Out(%T in %v)", v.Dest, v.In)
	case driver.Rows:
		return "cursor"
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	}
	if t := reflect.TypeOf(v); t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Func) {
		return t.String()
	}
	return addresses.ReplaceAllString(fmt.Sprintf("%T(%v)", v, v), "0x")
}

// addresses match addresses, which differ from run to run.
var addresses = regexp.MustCompile("0x[0-9a-f]+")

// object returns the name of a new value, for example "conn1".
func (d *scriptedDriver) object(kind string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects[kind]++
	return fmt.Sprint(kind, d.objects[kind])
}

// call records a call and returns its error, or nil if it succeeds. The script chooses
// among the errors that the method may return.
func (d *scriptedDriver) call(object, method, detail string, errs ...error) error {
	use := object + "." + method
	d.mu.Lock()
	n := d.counts[use]
	d.counts[use]++
	d.calls = append(d.calls, strings.TrimSpace(use+" "+detail))
	ready := d.ready
	d.mu.Unlock()
	if d.script.at(use+" cancels", n) < int(d.script.chaos)/4 && ready.cancel != nil && slices.Contains(cancelling, method) {
		ready.cancel()
	}
	if d.script.at(use, n) >= int(d.script.chaos) {
		return nil
	}
	choice := d.script.at(use+" fails", n)
	if choice%4 == 0 && ready.panics != nil && ready.panics(method) {
		panic("scripted panic of " + method)
	}
	if len(errs) == 0 {
		return nil
	}
	return errs[choice%len(errs)]
}

// cancelling are the methods during which a context may be canceled.
var cancelling = []string{"ExecContext", "QueryContext", "Exec", "Query", "PrepareContext", "Prepare", "BeginTx", "Begin",
	"stmt.ExecContext", "stmt.QueryContext", "stmt.Exec", "stmt.Query", "Ping", "Next"}

// nothing reports whether the next call of method returns nil and no error.
func (d *scriptedDriver) nothing(object, method string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.counts[object+"."+method]
	return d.script.at(object+"."+method+" nothing", n) < int(d.script.chaos)/8 && d.ready.panics != nil && d.ready.panics("nil from "+method)
}

// choose returns a number below n, a different one each time.
func (d *scriptedDriver) choose(what string, n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.counts["choose "+what]
	d.counts["choose "+what]++
	return d.script.at("choose "+what, c) % n
}

// take returns the calls since the last take. database/sql closes the statements of a
// connection in the order of a map, and the rows of a transaction in goroutines of
// their own, so take sorts these calls.
func (d *scriptedDriver) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	for i := 0; i < len(calls); {
		j := i
		for j < len(calls) && (strings.HasSuffix(calls[j], ".stmt.Close") || strings.HasSuffix(calls[j], ".rows.Close")) {
			j++
		}
		slices.Sort(calls[i:j])
		i = max(j, i+1)
	}
	return calls
}

func (d *scriptedDriver) prepare(g gate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = g
}

func (d *scriptedDriver) connect(detail string) (driver.Conn, error) {
	if err := d.call("driver", "Connect", detail, errPlain, driver.ErrBadConn); err != nil {
		return nil, err
	}
	return d.shape.newConn(&conn{d, d.object("conn")}), nil
}

// conn is the part that all connections have.
type conn struct {
	d    *scriptedDriver
	name string
}

func (c *conn) prepareAs(method, query, detail string) (driver.Stmt, error) {
	nothing := c.d.nothing(c.name, method)
	if err := c.d.call(c.name, method, fmt.Sprintf("%q%s", query, detail), errPlain, errCoded, driver.ErrBadConn, errWrapped, driver.ErrSkip); err != nil {
		return nil, err
	}
	if nothing {
		return nil, nil // a driver that does not keep to the rules
	}
	s := &stmt{d: c.d, name: c.d.object("stmt"), inputs: -1}
	if s.inputs = c.d.choose("inputs", 8); s.inputs > 3 {
		s.inputs = -1
	}
	return c.d.shape.newStmt(s), nil
}

func (c *conn) beginAs(method, detail string) (driver.Tx, error) {
	nothing := c.d.nothing(c.name, method)
	if err := c.d.call(c.name, method, detail, errPlain, errCoded, driver.ErrBadConn, errWrapped, driver.ErrSkip); err != nil {
		return nil, err
	}
	if nothing {
		return nil, nil // a driver that does not keep to the rules
	}
	return tx{c.d, c.d.object("tx")}, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) { return c.prepareAs("Prepare", query, "") }
func (c *conn) Begin() (driver.Tx, error)                 { return c.beginAs("Begin", "") }
func (c *conn) Close() error                              { return c.d.call(c.name, "conn.Close", "", errPlain) }

// preparer, beginner and the following types are optional parts of a connection.
type preparer struct{ of *conn }

func (p preparer) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return p.of.prepareAs("PrepareContext", query, p.of.d.describeContext(ctx))
}

type beginner struct{ of *conn }

func (b beginner) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return b.of.beginAs("BeginTx", fmt.Sprintf("%v%s", o, b.of.d.describeContext(ctx)))
}

// execErrors are the errors that a connection may return from an exec or query.
// database/sql handles ErrSkip in a special way.
var execErrors = []error{driver.ErrSkip, errPlain, driver.ErrSkip, errCoded, driver.ErrBadConn, errWrapped, context.Canceled, io.EOF}

type execer struct{ of *conn }

func (e execer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return e.of.d.exec(e.of.name, "ExecContext", fmt.Sprintf("%q%s%s", query, describeArgs(args), e.of.d.describeContext(ctx)), execErrors...)
}

type queryer struct{ of *conn }

func (q queryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return q.of.d.query(q.of.name, "QueryContext", fmt.Sprintf("%q%s%s", query, describeArgs(args), q.of.d.describeContext(ctx)), execErrors...)
}

type oldExecer struct{ of *conn }

func (e oldExecer) Exec(query string, args []driver.Value) (driver.Result, error) {
	return e.of.d.exec(e.of.name, "Exec", fmt.Sprintf("%q%s", query, describeValues(args)), execErrors...)
}

type oldQueryer struct{ of *conn }

func (q oldQueryer) Query(query string, args []driver.Value) (driver.Rows, error) {
	return q.of.d.query(q.of.name, "Query", fmt.Sprintf("%q%s", query, describeValues(args)), execErrors...)
}

type pinger struct{ of *conn }

func (p pinger) Ping(ctx context.Context) error {
	return p.of.d.call(p.of.name, "Ping", p.of.d.describeContext(ctx), errPlain, driver.ErrBadConn, driver.ErrSkip)
}

type checker struct{ of *conn }

func (c checker) CheckNamedValue(v *driver.NamedValue) error { return c.of.d.check(c.of.name, v) }

type resetter struct{ of *conn }

func (r resetter) ResetSession(ctx context.Context) error {
	return r.of.d.call(r.of.name, "ResetSession", r.of.d.describeContext(ctx), driver.ErrBadConn, errPlain, errWrapped)
}

type validator struct{ of *conn }

func (v validator) IsValid() bool { return v.of.d.call(v.of.name, "IsValid", "", errPlain) == nil }

// check may change the value, like real drivers.
func (d *scriptedDriver) check(object string, v *driver.NamedValue) error {
	err := d.call(object, "CheckNamedValue", fmt.Sprintf("%s%d:%s", v.Name, v.Ordinal, describeValue(v.Value)),
		driver.ErrSkip, driver.ErrRemoveArgument, errPlain, driver.ErrSkip)
	if err != nil {
		return err
	}
	if option, ok := v.Value.(Option); ok {
		v.Value = string(option)
		return nil
	}
	if _, ok := v.Value.(sql.Out); ok {
		return nil
	}
	return driver.ErrSkip
}

// Option is an argument that only the driver's own check accepts.
type Option string

func (d *scriptedDriver) exec(object, method, detail string, errs ...error) (driver.Result, error) {
	nothing := d.nothing(object, method)
	if err := d.call(object, method, detail, errs...); err != nil {
		if d.choose("result with error", 2) == 0 {
			return nil, err
		}
		return driver.RowsAffected(9), err
	}
	if nothing {
		return nil, nil // a driver that does not keep to the rules
	}
	return result{d, d.object("result"), d.choose("result", 8)}, nil
}

// result returns the same values whenever it is called. Its calls are not recorded,
// because a wrapper may ask for the number of rows.
type result struct {
	d    *scriptedDriver
	name string
	kind int
}

func (r result) LastInsertId() (int64, error) {
	if r.kind == 0 {
		return 0, errCoded
	}
	return int64(r.kind) + 100, nil
}

func (r result) RowsAffected() (int64, error) {
	switch {
	case r.kind == 1:
		return 3, errPlain
	case r.kind == 2 && r.d.script.plain:
		panic("scripted panic of RowsAffected")
	}
	return int64(r.kind), nil
}

func (d *scriptedDriver) query(object, method, detail string, errs ...error) (driver.Rows, error) {
	nothing := d.nothing(object, method)
	if err := d.call(object, method, detail, errs...); err != nil {
		return nil, err
	}
	if nothing {
		return nil, nil // a driver that does not keep to the rules
	}
	return rowsWith(d.shape.rows, d.newRows()), nil
}

// stmt is the part that all statements have.
type stmt struct {
	d      *scriptedDriver
	name   string
	inputs int
}

var stmtErrors = []error{errPlain, errCoded, driver.ErrBadConn, errWrapped, driver.ErrSkip, context.Canceled, io.EOF}

func (s *stmt) Close() error { return s.d.call(s.name, "stmt.Close", "", errPlain, driver.ErrBadConn) }

func (s *stmt) NumInput() int {
	_ = s.d.call(s.name, "NumInput", "")
	return s.inputs
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.d.exec(s.name, "stmt.Exec", describeValues(args), stmtErrors...)
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.d.query(s.name, "stmt.Query", describeValues(args), stmtErrors...)
}

// stmtExecer and the following types are optional parts of a statement.
type stmtExecer struct{ of *stmt }

func (s stmtExecer) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.of.d.exec(s.of.name, "stmt.ExecContext", describeArgs(args)+s.of.d.describeContext(ctx), stmtErrors...)
}

type stmtQueryer struct{ of *stmt }

func (s stmtQueryer) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.of.d.query(s.of.name, "stmt.QueryContext", describeArgs(args)+s.of.d.describeContext(ctx), stmtErrors...)
}

type stmtChecker struct{ of *stmt }

func (c stmtChecker) CheckNamedValue(v *driver.NamedValue) error { return c.of.d.check(c.of.name, v) }

type converter struct{ of *stmt }

func (c converter) ColumnConverter(i int) driver.ValueConverter {
	_ = c.of.d.call(c.of.name, "ColumnConverter", fmt.Sprint(i))
	converters := []driver.ValueConverter{driver.DefaultParameterConverter, driver.String, driver.Null{Converter: driver.Int32},
		driver.NotNull{Converter: driver.DefaultParameterConverter}, driver.DefaultParameterConverter}
	return converters[c.of.d.choose("converter", len(converters))]
}

type tx struct {
	d    *scriptedDriver
	name string
}

func (t tx) Commit() error {
	return t.d.call(t.name, "Commit", "", errPlain, driver.ErrBadConn, errCoded, driver.ErrSkip)
}

func (t tx) Rollback() error {
	return t.d.call(t.name, "Rollback", "", errPlain, driver.ErrBadConn, errCoded)
}

// rows is the part that all rows have.
type rows struct {
	d       *scriptedDriver
	name    string
	columns []string
	left    int // rows of this result set
	sets    int // further result sets
	row     []driver.Value
}

func (d *scriptedDriver) newRows() *rows {
	r := &rows{d: d, name: d.object("rows"), sets: max(0, d.choose("sets", 6)-3)}
	r.fill()
	return r
}

// fill begins a result set.
func (r *rows) fill() {
	r.columns = []string{"a", "b", "c"}[:1+r.d.choose("columns", 3)]
	r.left = r.d.choose("rows", 4)
}

func (r *rows) Columns() []string {
	_ = r.d.call(r.name, "Columns", "")
	return r.columns
}

func (r *rows) Close() error {
	return r.d.call(r.name, "rows.Close", "", errPlain, driver.ErrBadConn, errCoded)
}

func (r *rows) Next(dest []driver.Value) error {
	err := r.advance("Next", fmt.Sprint(len(dest)))
	copy(dest, r.row) // even at the end
	return err
}

var times = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

func (r *rows) advance(method, detail string) error {
	r.row = r.row[:0]
	for range r.columns {
		values := []driver.Value{int64(12), 1.5, true, []byte("bytes"), "text", times, nil, int64(-1), "17"}
		i := r.d.choose("value", len(values)+1)
		if i == len(values) {
			r.row = append(r.row, driver.Value(cursor{}))
		} else {
			r.row = append(r.row, values[i])
		}
	}
	if err := r.d.call(r.name, method, detail, errPlain, errCoded, driver.ErrBadConn, errWrapped, io.EOF, context.Canceled, driver.ErrSkip); err != nil {
		return err
	}
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	return nil
}

// cursor is a column value that is itself a set of rows.
type cursor struct{}

func (cursor) Columns() []string         { return []string{"cursor"} }
func (cursor) Close() error              { return nil }
func (cursor) Next([]driver.Value) error { return io.EOF }

// resultSets and the following types are optional parts of rows.
type resultSets struct{ of *rows }

func (s resultSets) HasNextResultSet() bool {
	_ = s.of.d.call(s.of.name, "HasNextResultSet", "")
	return s.of.sets > 0
}

func (s resultSets) NextResultSet() error {
	if err := s.of.d.call(s.of.name, "NextResultSet", "", errPlain, driver.ErrBadConn, io.EOF); err != nil {
		return err
	}
	if s.of.sets == 0 {
		return io.EOF
	}
	s.of.sets--
	s.of.fill()
	return nil
}

type scanTyper struct{ of *rows }

func (t scanTyper) ColumnTypeScanType(i int) reflect.Type {
	_ = t.of.d.call(t.of.name, "ColumnTypeScanType", fmt.Sprint(i))
	return []reflect.Type{reflect.TypeFor[int64](), reflect.TypeFor[string]()}[t.of.d.choose("scan type", 2)]
}

type typeNamer struct{ of *rows }

func (t typeNamer) ColumnTypeDatabaseTypeName(i int) string {
	_ = t.of.d.call(t.of.name, "ColumnTypeDatabaseTypeName", fmt.Sprint(i))
	return []string{"INT", "VARCHAR"}[t.of.d.choose("type name", 2)]
}

type lengther struct{ of *rows }

func (l lengther) ColumnTypeLength(i int) (int64, bool) {
	_ = l.of.d.call(l.of.name, "ColumnTypeLength", fmt.Sprint(i))
	n := l.of.d.choose("length", 4)
	return int64(n), n > 1
}

type nullabler struct{ of *rows }

func (n nullabler) ColumnTypeNullable(i int) (nullable, ok bool) {
	_ = n.of.d.call(n.of.name, "ColumnTypeNullable", fmt.Sprint(i))
	c := n.of.d.choose("nullable", 4)
	return c%2 == 0, c > 1
}

type precisioner struct{ of *rows }

func (p precisioner) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	_ = p.of.d.call(p.of.name, "ColumnTypePrecisionScale", fmt.Sprint(i))
	c := p.of.d.choose("precision", 4)
	return int64(c), int64(c) * 2, c > 1
}

func newScriptedDriver(sh shape, s script) *scriptedDriver {
	return &scriptedDriver{shape: sh, script: s, epoch: time.Now(), counts: map[string]int{}, objects: map[string]int{}}
}
