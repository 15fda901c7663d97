package sqldriver

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

var (
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ExecerContext      = execer{}
	_ driver.QueryerContext     = queryer{}
)

// conn is the part of a wrapped connection that every one has. Its methods are
// called by one goroutine at a time, as driver.Conn says.
type conn struct {
	bare driver.Conn
	db   *database

	// What bare has of these, found once.
	prepareCtx driver.ConnPrepareContext
	beginCtx   driver.ConnBeginTx
	execCtx    driver.ExecerContext
	queryCtx   driver.QueryerContext
	execOld    driver.Execer  //nolint:staticcheck // drivers still have it
	queryOld   driver.Queryer //nolint:staticcheck // drivers still have it

	tx      *tx           // the open transaction, nil if it is not traced
	skipped []skippedCall // calls that continue with a preparation
}

// skippedCall is a call that the driver answered with ErrSkip. database/sql
// prepares the statement next, executes it and closes it; the span goes along.
// In a transaction that several goroutines share, their calls may mix.
type skippedCall struct {
	query   string
	current *dendro.Span // in the context of the call
	span    *dendro.Span
}

// maxSkipped is how many such calls a connection may have open.
const maxSkipped = 256

// wrapConn takes the results of the driver's Open and Connect.
func (db *database) wrapConn(bare driver.Conn, err error) (driver.Conn, error) {
	if bare == nil || err != nil {
		return bare, err
	}
	c := &conn{bare: bare, db: db}
	c.prepareCtx, _ = bare.(driver.ConnPrepareContext)
	c.beginCtx, _ = bare.(driver.ConnBeginTx)
	c.execCtx, _ = bare.(driver.ExecerContext)
	c.queryCtx, _ = bare.(driver.QueryerContext)
	c.execOld, _ = bare.(driver.Execer)   //nolint:staticcheck // drivers still have it
	c.queryOld, _ = bare.(driver.Queryer) //nolint:staticcheck // drivers still have it
	return exactConn(c), nil
}

func (c *conn) unwrap() any { return c.bare }

// parent returns the context in which a statement's span begins, and whether
// there is to be one.
func (c *conn) parent(ctx context.Context) (context.Context, bool) {
	current := dendro.SpanFromContext(ctx)
	if t := c.tx; t != nil && (current == nil || current == t.outer) {
		return dendro.ContextWithSpan(ctx, t.span), true
	}
	if current == nil {
		return ctx, c.db.options.Roots
	}
	return ctx, sampled(current)
}

// start begins the span of a statement; it may be nil.
func (c *conn) start(ctx context.Context, query string) (context.Context, *dendro.Span) {
	ctx, ok := c.parent(ctx)
	if !ok {
		return ctx, nil
	}
	s := c.db.statements.get(query)
	return c.db.start(ctx, s.summary, s.attrs)
}

// skip keeps span for the preparation that follows.
func (c *conn) skip(ctx context.Context, query string, span *dendro.Span) {
	if len(c.skipped) == maxSkipped { // whoever called, not through a sql.DB, does not go on
		c.skipped[0].span.End()
		c.skipped = slices.Delete(c.skipped, 0, 1)
	}
	c.skipped = append(c.skipped, skippedCall{query, dendro.SpanFromContext(ctx), span})
}

// takeSkipped returns the span of the call whose preparation this is, or nil.
func (c *conn) takeSkipped(ctx context.Context, query string) *dendro.Span {
	if len(c.skipped) == 0 {
		return nil
	}
	current := dendro.SpanFromContext(ctx)
	i := slices.IndexFunc(c.skipped, func(s skippedCall) bool { return s.current == current && s.query == query })
	if i < 0 {
		return nil
	}
	span := c.skipped[i].span
	c.skipped = slices.Delete(c.skipped, i, i+1)
	return span
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	bare, err := c.bare.Prepare(query)
	return c.wrapStmt(bare, err, query, nil)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if span := c.takeSkipped(ctx, query); span != nil {
		return c.prepareSkipped(ctx, query, span)
	}
	ctx, ok := c.parent(ctx)
	if !ok {
		bare, err := c.prepare(ctx, query)
		return c.wrapStmt(bare, err, query, nil)
	}
	s := c.db.statements.get(query)
	ctx, span := c.db.start(ctx, s.prepare, s.attrs)
	span.SetAttributes(slog.String(semconv.DBOperationName, "PREPARE"), slog.String(semconv.DBQuerySummary, s.prepare))
	bare, err := call(span, func() (driver.Stmt, error) { return c.prepare(ctx, query) })
	if err != nil {
		c.db.fail(span, err)
	}
	span.End()
	return c.wrapStmt(bare, err, query, nil)
}

// prepareSkipped prepares as a part of the call whose span that is.
func (c *conn) prepareSkipped(ctx context.Context, query string, span *dendro.Span) (driver.Stmt, error) {
	began := time.Now()
	bare, err := call(span, func() (driver.Stmt, error) {
		return c.prepare(dendro.ContextWithSpan(ctx, span), query)
	})
	span.AddEventAt(began, time.Since(began), "prepare")
	if err != nil {
		c.db.fail(span, err)
	}
	if err != nil || bare == nil {
		span.End()
		span = nil
	}
	return c.wrapStmt(bare, err, query, span)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.bare.Begin() //nolint:staticcheck // part of driver.Conn
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	current := dendro.SpanFromContext(ctx)
	if !sampled(current) && (current != nil || !c.db.options.Roots) {
		return c.begin(ctx, opts)
	}
	began := time.Now()
	spanCtx, span := c.db.start(ctx, "transaction", c.db.attrs)
	bare, err := call(span, func() (driver.Tx, error) { return c.begin(spanCtx, opts) })
	if err != nil {
		c.db.fail(span, err)
	}
	if err != nil || bare == nil || span == nil {
		span.End()
		return bare, err
	}
	span.AddEventAt(began, time.Since(began), "begin")
	c.tx = &tx{bare: bare, conn: c, ctx: ctx, span: span, outer: current}
	return c.tx, nil
}

func (c *conn) Close() error {
	for _, s := range c.skipped {
		s.span.End()
	}
	c.skipped = nil
	if c.tx != nil {
		c.tx.span.End()
		c.tx = nil
	}
	return c.bare.Close()
}

// execer is the part of a connection that runs an exec without preparing it.
type execer struct{ conn *conn }

func (e execer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c := e.conn
	spanCtx, span := c.start(ctx, query)
	if span == nil {
		return c.exec(spanCtx, query, args)
	}
	res, err := call(span, func() (driver.Result, error) { return c.exec(spanCtx, query, args) })
	if err == driver.ErrSkip { // as database/sql compares
		c.skip(ctx, query, span)
		return res, err
	}
	c.db.endExec(span, res, err)
	return res, err
}

// queryer is the part of a connection that runs a query without preparing it.
type queryer struct{ conn *conn }

func (q queryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c := q.conn
	spanCtx, span := c.start(ctx, query)
	if span == nil {
		return c.query(spanCtx, query, args)
	}
	began := time.Now()
	rows, err := call(span, func() (driver.Rows, error) { return c.query(spanCtx, query, args) })
	if err == driver.ErrSkip { // as database/sql compares
		c.skip(ctx, query, span)
		return rows, err
	}
	return c.db.endQuery(spanCtx, span, began, rows, err)
}
