package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
)

const statement = "SELECT id, total FROM orders WHERE id = ?"

func (bare) openDB(c driver.Connector) *sql.DB { return sql.OpenDB(c) }

func databaseCases() []benchmark {
	full := []string{"dendro", "dendro, remote", "OpenTelemetry", "OpenTelemetry, one span"}
	never := []string{"dendro, never sampled", "OpenTelemetry, NeverSample"}
	query := func(l library) op { return databaseOp(l.(databaser), queryRow) }
	queryBase := func(library) op { return databaseOp(bare{}, queryRow) }
	exec := func(l library) op { return databaseOp(l.(databaser), execute) }
	execBase := func(library) op { return databaseOp(bare{}, execute) }
	return []benchmark{
		{name: "QueryRow and Scan, sampled", libraries: full, op: query, base: queryBase, baseName: "database/sql"},
		{name: "QueryRow and Scan, not sampled", libraries: never, op: query, base: queryBase, baseName: "database/sql"},
		{name: "Exec, sampled", libraries: full, op: exec, base: execBase, baseName: "database/sql"},
	}
}

func queryRow(ctx context.Context, db *sql.DB) error {
	var id, total int64
	return db.QueryRowContext(ctx, statement, int64(42)).Scan(&id, &total)
}

func execute(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "UPDATE orders SET total = ? WHERE id = ?", int64(7), int64(42))
	return err
}

// databaseOp calls a database, below a span, that responds at once.
func databaseOp(l databaser, call func(context.Context, *sql.DB) error) op {
	db := l.openDB(fakeConnector{})
	return func(n int) {
		ctx, end := l.root()
		defer end()
		for range n {
			if err := call(ctx, db); err != nil {
				panic(err)
			}
		}
	}
}

type (
	fakeConnector struct{}
	fakeDriver    struct{}
	fakeConn      struct{}
	fakeRows      struct{ read bool }
)

func (fakeConnector) Connect(context.Context) (driver.Conn, error) { return fakeConn{}, nil }
func (fakeConnector) Driver() driver.Driver                        { return fakeDriver{} }
func (fakeDriver) Open(string) (driver.Conn, error)                { return fakeConn{}, nil }

func (fakeConn) Prepare(string) (driver.Stmt, error)      { return nil, driver.ErrSkip }
func (fakeConn) Begin() (driver.Tx, error)                { return nil, driver.ErrSkip }
func (fakeConn) Close() error                             { return nil }
func (fakeConn) ResetSession(context.Context) error       { return nil }
func (fakeConn) IsValid() bool                            { return true }
func (fakeConn) CheckNamedValue(*driver.NamedValue) error { return nil }

func (fakeConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}

func (fakeConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &fakeRows{}, nil
}

var columns = []string{"id", "total"}

func (*fakeRows) Columns() []string { return columns }
func (*fakeRows) Close() error      { return nil }

func (r *fakeRows) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	dest[0], dest[1] = int64(42), int64(7)
	return nil
}
