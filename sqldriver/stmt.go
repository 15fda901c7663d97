package sqldriver

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/dendrotrace/dendro"
)

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

// stmt is the part of a wrapped statement that every one has.
type stmt struct {
	bare     driver.Stmt
	execCtx  driver.StmtExecContext  // nil if bare has none
	queryCtx driver.StmtQueryContext // nil if bare has none
	conn     *conn
	text     string
	span     *dendro.Span // of the call that this statement was prepared for, until it runs
}

// wrapStmt takes the results of a preparation.
func (c *conn) wrapStmt(bare driver.Stmt, err error, query string, span *dendro.Span) (driver.Stmt, error) {
	if bare == nil || err != nil {
		return bare, err
	}
	s := &stmt{bare: bare, conn: c, text: query, span: span}
	s.execCtx, _ = bare.(driver.StmtExecContext)
	s.queryCtx, _ = bare.(driver.StmtQueryContext)
	return exactStmt(s), nil
}

func (s *stmt) unwrap() any { return s.bare }

// start begins the span of an execution, or goes on with the one that s was
// prepared for. It may be nil.
func (s *stmt) start(ctx context.Context) (context.Context, *dendro.Span) {
	if span := s.span; span != nil {
		s.span = nil
		return dendro.ContextWithSpan(ctx, span), span
	}
	return s.conn.start(ctx, s.text)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	ctx, span := s.start(ctx)
	if span == nil {
		return s.exec(ctx, args)
	}
	res, err := call(span, func() (driver.Result, error) { return s.exec(ctx, args) })
	s.conn.db.endExec(span, res, err)
	return res, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	ctx, span := s.start(ctx)
	if span == nil {
		return s.query(ctx, args)
	}
	began := time.Now()
	rows, err := call(span, func() (driver.Rows, error) { return s.query(ctx, args) })
	return s.conn.db.endQuery(ctx, span, began, rows, err)
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.bare.Exec(args) //nolint:staticcheck // part of driver.Stmt
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.bare.Query(args) //nolint:staticcheck // part of driver.Stmt
}

func (s *stmt) NumInput() int { return s.bare.NumInput() }

func (s *stmt) Close() error {
	s.span.End() // database/sql refused the arguments
	s.span = nil
	return s.bare.Close()
}
