package sqldriver

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

var (
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ExecerContext      = execer{}
	_ driver.QueryerContext     = queryer{}
)

// conn is the part of a wrapped connection that does not depend on the driver. Its
// methods are called by one goroutine at a time, see driver.Conn.
type conn struct {
	bare driver.Conn
	db   *database

	// Optional interfaces of bare, or nil.
	prepareCtx driver.ConnPrepareContext
	beginCtx   driver.ConnBeginTx
	execCtx    driver.ExecerContext
	queryCtx   driver.QueryerContext
	execOld    driver.Execer  //nolint:staticcheck // drivers still have it
	queryOld   driver.Queryer //nolint:staticcheck // drivers still have it

	opening opening       // how the connection was opened, until a span records it
	tx      *tx           // the open transaction, or nil if it is not traced
	skipped []skippedCall // calls that continue with a preparation
}

// skippedCall is a call for which the driver returned ErrSkip. database/sql then
// prepares the statement, executes it and closes it, all in the span of the call. If
// several goroutines share a transaction, their calls may interleave.
type skippedCall struct {
	query     string
	current   *dendro.Span // the span in the context of the call
	execution execution
}

// opening describes how a connection was opened.
type opening struct {
	wait  *poolWait    // wait before the connection was opened, or nil
	span  *dendro.Span // the span in the context of the call, or nil if it is not recorded
	began time.Time
	took  time.Duration
}

// maxSkipped bounds the number of skipped calls of a connection.
const maxSkipped = 256

// wrapConn wraps the result of the driver's Open or Connect.
func (db *database) wrapConn(bare driver.Conn, err error, o opening) (driver.Conn, error) {
	if bare == nil || err != nil {
		return bare, err
	}
	c := &conn{bare: bare, db: db, opening: o}
	c.prepareCtx, _ = bare.(driver.ConnPrepareContext)
	c.beginCtx, _ = bare.(driver.ConnBeginTx)
	c.execCtx, _ = bare.(driver.ExecerContext)
	c.queryCtx, _ = bare.(driver.QueryerContext)
	c.execOld, _ = bare.(driver.Execer)   //nolint:staticcheck // drivers still have it
	c.queryOld, _ = bare.(driver.Queryer) //nolint:staticcheck // drivers still have it
	return exactConn(c), nil
}

func (c *conn) unwrap() any { return c.bare }

// parent returns the context in which the span of a statement begins, the span in that
// context, and whether the statement is traced.
func (c *conn) parent(ctx context.Context) (context.Context, *dendro.Span, bool) {
	current := dendro.SpanFromContext(ctx)
	if t := c.tx; t != nil && (current == nil || current == t.outer) {
		return dendro.ContextWithSpan(ctx, t.span), t.span, true
	}
	if current == nil {
		return ctx, nil, c.db.options.roots(ctx)
	}
	return ctx, current, current.IsRecorded()
}

// begin begins a span in ctx for a call of the driver that is made now. The span
// includes what database/sql did before, if that is known: waiting for a connection
// and opening it. The span may be nil.
func (c *conn) begin(ctx context.Context, name string, attrs []slog.Attr) (context.Context, *dendro.Span, time.Time) {
	began := monotonic.Now()
	opened := c.opening
	c.opening = opening{}
	wait := endPoolWait(ctx)
	if opened.span == nil && wait == nil {
		ctx, span := c.db.startAt(ctx, began, name, attrs)
		return ctx, span, began
	}
	start, waited := began, began // end of the wait
	if opened.span != nil && opened.span == dendro.SpanFromContext(ctx) {
		start, waited = opened.began, opened.began
		if wait == nil {
			wait = opened.wait
		}
	}
	if wait != nil {
		start = wait.began
	}
	ctx, span := c.db.startAt(ctx, start, name, attrs)
	wait.tell(span, waited)
	if waited != began {
		span.AddEventAt(opened.began, opened.took, connectEvent)
	}
	return ctx, span, began
}

// start begins the execution of a statement, if it is traced.
func (c *conn) start(ctx context.Context, query string, args []driver.NamedValue) (context.Context, execution) {
	ctx, parent, ok := c.parent(ctx)
	if !ok {
		return ctx, execution{}
	}
	s := c.db.statements.Get(query)
	ctx, span, began := c.begin(ctx, s.summary, s.attrs)
	if span == nil {
		return ctx, execution{}
	}
	c.db.repeats.Note(parent, &s.repeated)
	e := execution{db: c.db, span: span, statement: s, began: began}
	if c.db.options.Args != nil {
		e.recordArgs(args)
	}
	if s.explainable {
		e.args = copyArgs(args)
	}
	return ctx, e
}

// skip keeps e for the preparation that follows.
func (c *conn) skip(ctx context.Context, query string, e execution) {
	if len(c.skipped) == maxSkipped { // the oldest call did not come from a sql.DB, which would have continued it
		c.skipped[0].execution.span.End()
		c.skipped = slices.Delete(c.skipped, 0, 1)
	}
	c.skipped = append(c.skipped, skippedCall{query, dendro.SpanFromContext(ctx), e})
}

// takeSkipped returns the skipped call that causes this preparation, if there is one.
func (c *conn) takeSkipped(ctx context.Context, query string) (e execution) {
	if len(c.skipped) == 0 {
		return e
	}
	current := dendro.SpanFromContext(ctx)
	i := slices.IndexFunc(c.skipped, func(s skippedCall) bool { return s.current == current && s.query == query })
	if i < 0 {
		return e
	}
	e = c.skipped[i].execution
	c.skipped = slices.Delete(c.skipped, i, i+1)
	return e
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	bare, err := c.bare.Prepare(query)
	return c.wrapStmt(bare, err, query, execution{})
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if e := c.takeSkipped(ctx, query); e.span != nil {
		return c.prepareSkipped(ctx, query, e)
	}
	ctx, _, ok := c.parent(ctx)
	if !ok {
		bare, err := c.prepare(ctx, query)
		return c.wrapStmt(bare, err, query, execution{})
	}
	s := c.db.statements.Get(query)
	ctx, span, _ := c.begin(ctx, s.prepare, s.attrs)
	span.SetAttributes(slog.String(semconv.DBOperationName, "PREPARE"), slog.String(semconv.DBQuerySummary, s.prepare))
	bare, err := call(span, func() (driver.Stmt, error) { return c.prepare(ctx, query) })
	if err != nil {
		c.db.fail(span, err)
	}
	span.End()
	return c.wrapStmt(bare, err, query, execution{})
}

// prepareSkipped prepares a statement as part of the call e.
func (c *conn) prepareSkipped(ctx context.Context, query string, e execution) (driver.Stmt, error) {
	began := monotonic.Now()
	bare, err := call(e.span, func() (driver.Stmt, error) {
		return c.prepare(dendro.ContextWithSpan(ctx, e.span), query)
	})
	e.span.AddEventAt(began, time.Since(began), "prepare")
	if err != nil {
		c.db.fail(e.span, err)
	}
	if err != nil || bare == nil {
		e.span.End()
		e = execution{}
	}
	return c.wrapStmt(bare, err, query, e)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.bare.Begin() //nolint:staticcheck // part of driver.Conn
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	current := dendro.SpanFromContext(ctx)
	if !current.IsRecorded() && (current != nil || !c.db.options.roots(ctx)) {
		return c.beginTx(ctx, opts)
	}
	spanCtx, span, began := c.begin(ctx, "transaction", c.db.attrs)
	bare, err := call(span, func() (driver.Tx, error) { return c.beginTx(spanCtx, opts) })
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
		s.execution.span.End()
	}
	c.skipped = nil
	if c.tx != nil {
		c.tx.span.End()
		c.tx = nil
	}
	return c.bare.Close()
}

// execer is the optional part of a connection that executes without preparing.
type execer struct{ conn *conn }

func (x execer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c := x.conn
	spanCtx, e := c.start(ctx, query, args)
	if e.span == nil {
		return c.exec(spanCtx, query, args)
	}
	text := c.db.comment(e.statement, e.span)
	res, err := call(e.span, func() (driver.Result, error) { return c.exec(spanCtx, text, args) })
	if err == driver.ErrSkip { // as database/sql compares
		c.skip(ctx, query, e)
		return res, err
	}
	e.endExec(res, err)
	return res, err
}

// queryer is the optional part of a connection that queries without preparing.
type queryer struct{ conn *conn }

func (q queryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c := q.conn
	spanCtx, e := c.start(ctx, query, args)
	if e.span == nil {
		return c.query(spanCtx, query, args)
	}
	text := c.db.comment(e.statement, e.span)
	rows, err := call(e.span, func() (driver.Rows, error) { return c.query(spanCtx, text, args) })
	if err == driver.ErrSkip { // as database/sql compares
		c.skip(ctx, query, e)
		return rows, err
	}
	return e.endQuery(spanCtx, rows, err)
}
