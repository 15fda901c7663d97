package sqldriver

import (
	"context"
	"database/sql/driver"
	"io"
	"sync"
)

// fakeDriver opens connections with open. If open is nil, Open returns a fakeConn that
// responds as answer says.
type fakeDriver struct {
	open   func() driver.Conn
	refuse error                                 // of Open
	answer func(call string, query string) error // nil: all goes well
	rows   int                                   // of each query
	values []driver.Value                        // of the rows that are left

	mu    sync.Mutex
	seen  []string          // guarded by mu
	spans []context.Context // of the calls; guarded by mu
}

func (d *fakeDriver) Open(string) (driver.Conn, error) {
	if d.refuse != nil {
		return nil, d.refuse
	}
	if d.open != nil {
		return d.open(), nil
	}
	return &fakeConn{d}, nil
}

func (d *fakeDriver) call(ctx context.Context, call, query string) error {
	d.mu.Lock()
	d.seen = append(d.seen, call)
	d.spans = append(d.spans, ctx)
	d.mu.Unlock()
	if d.answer != nil {
		return d.answer(call, query)
	}
	return nil
}

// fakeConn is a connection with the methods that have contexts.
type fakeConn struct{ d *fakeDriver }

func (c *fakeConn) Prepare(string) (driver.Stmt, error) { panic("without context") }
func (c *fakeConn) Begin() (driver.Tx, error)           { panic("without context") }
func (c *fakeConn) Close() error                        { return nil }

func (c *fakeConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.d.call(ctx, "prepare", query); err != nil {
		return nil, err
	}
	return &fakeStatement{c.d, query}, nil
}

func (c *fakeConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	mode := ""
	if opts.ReadOnly {
		mode = "READ ONLY"
	}
	return fakeTx{c.d}, c.d.call(ctx, "begin", mode)
}

func (c *fakeConn) ExecContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(3), c.d.call(ctx, "exec", query)
}

func (c *fakeConn) QueryContext(ctx context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if err := c.d.call(ctx, "query", query); err != nil {
		return nil, err
	}
	return &fakeRows{d: c.d, left: c.d.rows}, nil
}

type fakeStatement struct {
	d     *fakeDriver
	query string
}

func (s *fakeStatement) Close() error                               { return nil }
func (s *fakeStatement) NumInput() int                              { return -1 }
func (s *fakeStatement) Exec([]driver.Value) (driver.Result, error) { panic("without context") }
func (s *fakeStatement) Query([]driver.Value) (driver.Rows, error)  { panic("without context") }

func (s *fakeStatement) ExecContext(ctx context.Context, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(3), s.d.call(ctx, "stmt.exec", s.query)
}

func (s *fakeStatement) QueryContext(ctx context.Context, _ []driver.NamedValue) (driver.Rows, error) {
	if err := s.d.call(ctx, "stmt.query", s.query); err != nil {
		return nil, err
	}
	return &fakeRows{d: s.d, left: s.d.rows}, nil
}

type fakeRows struct {
	d    *fakeDriver
	left int
}

var fakeColumns = []string{"a"}

func (r *fakeRows) Columns() []string { return fakeColumns }

func (r *fakeRows) Close() error {
	if r.d.answer != nil {
		return r.d.answer("rows.close", "")
	}
	return nil
}

func (r *fakeRows) Next(dest []driver.Value) error {
	if r.d.answer != nil {
		if err := r.d.answer("next", ""); err != nil {
			return err
		}
	}
	if r.left == 0 {
		return io.EOF
	}
	r.left--
	dest[0] = int64(r.left)
	if r.left < len(r.d.values) {
		dest[0] = r.d.values[r.left]
	}
	return nil
}

type fakeTx struct{ d *fakeDriver }

func (t fakeTx) Commit() error   { return t.d.call(context.Background(), "commit", "") }
func (t fakeTx) Rollback() error { return t.d.call(context.Background(), "rollback", "") }
