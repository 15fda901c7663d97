package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"go/build"
	"io"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/sqltransparency"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// fake is all values of a driver in one, with all optional methods. It records which
// of them are called.
type fake struct{ calls []string }

type nextSetter interface {
	HasNextResultSet() bool
	NextResultSet() error
}

func (f *fake) note(call string) { f.calls = append(f.calls, call) }

func (f *fake) Prepare(string) (driver.Stmt, error) { f.note("Prepare"); return fakeStmt{f}, nil }
func (f *fake) Begin() (driver.Tx, error)           { f.note("Begin"); return f, nil }
func (f *fake) Commit() error                       { f.note("Commit"); return nil }
func (f *fake) Rollback() error                     { f.note("Rollback"); return nil }
func (f *fake) Close() error                        { f.note("Close"); return nil }
func (f *fake) NumInput() int                       { return -1 }
func (f *fake) Columns() []string                   { return []string{"a"} }
func (f *fake) Next([]driver.Value) error           { f.note("Next"); return io.EOF }
func (f *fake) Ping(context.Context) error          { f.note("Ping"); return nil }
func (f *fake) ResetSession(context.Context) error  { f.note("ResetSession"); return nil }
func (f *fake) IsValid() bool                       { f.note("IsValid"); return true }
func (f *fake) HasNextResultSet() bool              { f.note("HasNextResultSet"); return false }
func (f *fake) NextResultSet() error                { f.note("NextResultSet"); return io.EOF }
func (f *fake) Exec([]driver.Value) (driver.Result, error) {
	f.note("Exec")
	return driver.ResultNoRows, nil
}
func (f *fake) Query([]driver.Value) (driver.Rows, error) { f.note("Query"); return f, nil }

func (f *fake) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	f.note("ExecContext")
	return driver.ResultNoRows, nil
}

func (f *fake) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	f.note("QueryContext")
	return f, nil
}

func (f *fake) CheckNamedValue(*driver.NamedValue) error {
	f.note("CheckNamedValue")
	return nil
}

func (f *fake) ColumnConverter(int) driver.ValueConverter {
	f.note("ColumnConverter")
	return driver.Int32
}

func (f *fake) ColumnTypeScanType(int) reflect.Type {
	f.note("ScanType")
	return reflect.TypeFor[int]()
}
func (f *fake) ColumnTypeDatabaseTypeName(int) string { f.note("DatabaseTypeName"); return "INT" }
func (f *fake) ColumnTypeLength(int) (int64, bool)    { f.note("Length"); return 1, true }
func (f *fake) ColumnTypeNullable(int) (bool, bool)   { f.note("Nullable"); return true, true }
func (f *fake) ColumnTypePrecisionScale(int) (int64, int64, bool) {
	f.note("PrecisionScale")
	return 1, 2, true
}

type fakeStmt struct{ *fake }

// probe calls one optional method. It returns false if v does not have it.
type probe struct {
	name string
	call func(v any) bool
}

func probeOf[I any](name string, call func(I)) probe {
	return probe{name, func(v any) bool {
		i, ok := v.(I)
		if ok {
			call(i)
		}
		return ok
	}}
}

var ctx = context.Background()

var connProbes = []probe{
	probeOf("ExecContext", func(c driver.ExecerContext) { c.ExecContext(ctx, "", nil) }),
	probeOf("QueryContext", func(c driver.QueryerContext) { c.QueryContext(ctx, "", nil) }),
	probeOf("Ping", func(c driver.Pinger) { c.Ping(ctx) }),
	probeOf("CheckNamedValue", func(c driver.NamedValueChecker) { c.CheckNamedValue(nil) }),
	probeOf("ResetSession", func(c driver.SessionResetter) { c.ResetSession(ctx) }),
	probeOf("IsValid", func(c driver.Validator) { c.IsValid() }),
}

var stmtProbes = []probe{
	probeOf("CheckNamedValue", func(s driver.NamedValueChecker) { s.CheckNamedValue(nil) }),
	probeOf("ColumnConverter", func(s driver.ColumnConverter) { s.ColumnConverter(0) }),
}

var rowsProbes = []probe{
	probeOf("NextResultSet", func(r driver.RowsNextResultSet) { r.NextResultSet() }),
	probeOf("HasNextResultSet", func(r driver.RowsNextResultSet) { r.HasNextResultSet() }),
	probeOf("ScanType", func(r driver.RowsColumnTypeScanType) { r.ColumnTypeScanType(0) }),
	probeOf("DatabaseTypeName", func(r driver.RowsColumnTypeDatabaseTypeName) { r.ColumnTypeDatabaseTypeName(0) }),
	probeOf("Length", func(r driver.RowsColumnTypeLength) { r.ColumnTypeLength(0) }),
	probeOf("Nullable", func(r driver.RowsColumnTypeNullable) { r.ColumnTypeNullable(0) }),
	probeOf("PrecisionScale", func(r driver.RowsColumnTypePrecisionScale) { r.ColumnTypePrecisionScale(0) }),
}

// checkExact fails unless wrapped has exactly the optional methods of bare, and each
// calls the driver's method.
func checkExact(t *testing.T, f *fake, bare, wrapped any, probes []probe) {
	t.Helper()
	for _, p := range probes {
		f.calls = nil
		has := p.call(bare)
		want := f.calls
		f.calls = nil
		if got := p.call(wrapped); got != has {
			t.Errorf("%T: %s: has it: %v, the wrapper: %v", bare, p.name, has, got)
		}
		testkit.Equal(t, p.name, f.calls, want)
	}
	testkit.Equal(t, "unwrapped", Unwrap(wrapped), bare)
}

func TestEveryCombination(t *testing.T) {
	f := &fake{}
	db := newDatabase(wrapDriver(&fakeDriver{}, "", Options{}), "")
	conns, stmts, rowss := fakeConns(f), fakeStmts(f), fakeRowss(f)
	for _, bare := range conns {
		c, err := db.wrapConn(bare, nil, opening{})
		testkit.NoError(t, err)
		checkExact(t, f, bare, c, connProbes)
	}
	c := &conn{db: db}
	for _, bare := range stmts {
		s, err := c.wrapStmt(bare, nil, "", execution{})
		testkit.NoError(t, err)
		checkExact(t, f, bare, s, stmtProbes)
	}
	for _, bare := range rowss {
		checkExact(t, f, bare, exactRows(rows{bare: bare, execution: execution{db: db}, ctx: ctx}), rowsProbes)
	}
	t.Logf("combinations: %d connections, %d statements, %d rows", len(conns), len(stmts), len(rowss))
	testkit.Equal(t, "combinations", []int{len(conns), len(stmts), len(rowss)}, []int{1 << 6, 1 << 2, 1 << 6})
}

// TestEveryCombinationOpened opens a wrapped driver for every combination of optional
// interfaces, with and without methods with contexts, with and without OpenConnector,
// and with and without a Close method of the connector.
func TestEveryCombinationOpened(t *testing.T) {
	rows := 1 << 6
	if slices.Contains(build.Default.ReleaseTags, "go1.27") {
		rows = 1 << 7 // RowsColumnScanner
	}
	for _, d := range differentials() {
		found, err := sqltransparency.Combinations(d.library())
		testkit.NoError(t, err)
		kinds := map[string]int{}
		for _, c := range found {
			if kinds[c.Kind]++; c.Differs() {
				t.Errorf("%s: %v", d.name, c)
			}
		}
		testkit.Equal(t, "combinations", kinds, map[string]int{"Conn": 1 << 6, "old Conn": 1 << 6, "Stmt": 1 << 2, "old Stmt": 1 << 2,
			"Rows": rows, "Connector": 3})
	}
}

func TestConnectorClose(t *testing.T) {
	bare := dsnConnector{"", &fakeDriver{}}
	if _, ok := WrapConnector(bare, Options{}).(io.Closer); ok {
		t.Error("a connector without Close has got one")
	}
	closed := false
	c := WrapConnector(closingConnector{bare, &closed}, Options{})
	testkit.NoError(t, sql.OpenDB(c).Close())
	testkit.Equal(t, "closed", closed, true)
}

type closingConnector struct {
	driver.Connector
	closed *bool
}

func (c closingConnector) Close() error { *c.closed = true; return nil }

func TestGeneratedFiles(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	for _, folder := range []string{".", "../internal/sqltransparency"} {
		cmd := exec.Command(tool, "run", "gen.go", "-check")
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// oldConn only has the methods without contexts.
type oldConn struct{ *fake }

func (c oldConn) Prepare(string) (driver.Stmt, error) { c.note("Prepare"); return oldStmt{c.fake}, nil }

func (c oldConn) Exec(string, []driver.Value) (driver.Result, error) {
	c.note("Exec")
	return driver.RowsAffected(1), nil
}

func (c oldConn) Query(string, []driver.Value) (driver.Rows, error) {
	c.note("Query")
	return oldRows{c.fake}, nil
}

type oldStmt struct{ fake *fake }

func (s oldStmt) Close() error  { s.fake.note("stmt.Close"); return nil }
func (s oldStmt) NumInput() int { return -1 }
func (s oldStmt) Exec([]driver.Value) (driver.Result, error) {
	s.fake.note("stmt.Exec")
	return driver.RowsAffected(1), nil
}
func (s oldStmt) Query([]driver.Value) (driver.Rows, error) {
	s.fake.note("stmt.Query")
	return oldRows(s), nil
}

type oldRows struct{ fake *fake }

func (r oldRows) Columns() []string         { return []string{"a"} }
func (r oldRows) Close() error              { r.fake.note("rows.Close"); return nil }
func (r oldRows) Next([]driver.Value) error { return io.EOF }

// hideContext hides the methods with a context of a connection.
type hideContext struct {
	driver.Conn
	driver.Execer  //nolint:staticcheck // what is tested
	driver.Queryer //nolint:staticcheck // what is tested
}

// TestOldDrivers uses a driver without context methods, bare and wrapped, in the same
// way, and compares the calls that it gets and the results.
func TestOldDrivers(t *testing.T) {
	for name, exec := range map[string]bool{"with Execer and Queryer": true, "with neither": false} {
		t.Run(name, func(t *testing.T) {
			run := func(wrap bool) (calls, results []string) {
				f := &fake{}
				d := &fakeDriver{open: func() driver.Conn {
					old := oldConn{f}
					if exec {
						return hideContext{old, old, old}
					}
					return struct{ driver.Conn }{old}
				}}
				c := driver.Connector(dsnConnector{"", d})
				ctx := ctx
				if wrap {
					tracer, _ := testkit.NewTracer(t)
					c = WrapConnector(c, Options{Tracer: tracer})
					var span *dendro.Span
					ctx, span = tracer.Start(ctx, "test")
					defer span.End()
				}
				cancelled, cancel := context.WithCancel(ctx)
				db := sql.OpenDB(c)
				defer db.Close()
				result := func(_ any, err error) {
					if err == nil {
						err = errors.New("ok")
					}
					results = append(results, err.Error())
				}
				result(db.ExecContext(ctx, "x", 1))
				result(db.ExecContext(ctx, "x", sql.Named("n", 1)))
				for _, arg := range []any{1, sql.Named("n", 1), struct{}{}} {
					rows, err := db.QueryContext(ctx, "x", arg)
					if result(nil, err); err == nil {
						rows.Close()
					}
				}
				stmt, err := db.PrepareContext(ctx, "x")
				result(nil, err)
				result(stmt.ExecContext(ctx, 1))
				result(stmt.ExecContext(ctx, sql.Named("n", 1)))
				result(nil, stmt.QueryRowContext(ctx).Scan(new(int)))
				stmt.Close()
				for _, o := range []*sql.TxOptions{nil, {}, {ReadOnly: true}, {Isolation: sql.LevelSerializable}} {
					tx, err := db.BeginTx(ctx, o)
					if result(nil, err); err == nil {
						result(nil, tx.Commit())
					}
				}
				result(nil, db.PingContext(ctx))
				conn, err := db.Conn(ctx)
				testkit.NoError(t, err)
				cancel()
				result(conn.ExecContext(cancelled, "x"))
				result(conn.PrepareContext(cancelled, "x"))
				result(conn.BeginTx(cancelled, nil))
				conn.Close()
				return f.calls, results
			}
			bareCalls, bareResults := run(false)
			calls, results := run(true)
			testkit.Equal(t, "calls", calls, bareCalls)
			testkit.Equal(t, "results", results, bareResults)
			if !slices.ContainsFunc(results, func(s string) bool { return strings.Contains(s, "Named Parameters") }) ||
				!slices.Contains(calls, "Rollback") && !slices.Contains(calls, "Commit") {
				t.Errorf("not much was tested: %v %v", calls, results)
			}
		})
	}
}
