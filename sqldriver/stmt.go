package sqldriver

import (
	"context"
	"database/sql/driver"

	"github.com/dendrotrace/dendro"
)

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

// stmt is the part of a wrapped statement that does not depend on the driver.
type stmt struct {
	bare     driver.Stmt
	execCtx  driver.StmtExecContext  // or nil
	queryCtx driver.StmtQueryContext // or nil
	conn     *conn
	text     string
	call     execution // the call that this statement was prepared for, until it runs
}

// wrapStmt wraps the result of a preparation.
func (c *conn) wrapStmt(bare driver.Stmt, err error, query string, e execution) (driver.Stmt, error) {
	if bare == nil || err != nil {
		return bare, err
	}
	s := &stmt{bare: bare, conn: c, text: query, call: e}
	s.execCtx, _ = bare.(driver.StmtExecContext)
	s.queryCtx, _ = bare.(driver.StmtQueryContext)
	return exactStmt(s), nil
}

func (s *stmt) unwrap() any { return s.bare }

// start begins an execution, or continues the call that s was prepared for.
func (s *stmt) start(ctx context.Context, args []driver.NamedValue) (context.Context, execution) {
	if e := s.call; e.span != nil {
		s.call = execution{}
		return dendro.ContextWithSpan(ctx, e.span), e
	}
	return s.conn.start(ctx, s.text, args)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	ctx, e := s.start(ctx, args)
	if e.span == nil {
		return s.exec(ctx, args)
	}
	res, err := call(e.span, func() (driver.Result, error) { return s.exec(ctx, args) })
	e.endExec(res, err)
	return res, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	ctx, e := s.start(ctx, args)
	if e.span == nil {
		return s.query(ctx, args)
	}
	rows, err := call(e.span, func() (driver.Rows, error) { return s.query(ctx, args) })
	return e.endQuery(ctx, rows, err)
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.bare.Exec(args) //nolint:staticcheck // part of driver.Stmt
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.bare.Query(args) //nolint:staticcheck // part of driver.Stmt
}

func (s *stmt) NumInput() int { return s.bare.NumInput() }

func (s *stmt) Close() error {
	s.call.span.End() // reached if database/sql refused the arguments
	s.call = execution{}
	return s.bare.Close()
}
