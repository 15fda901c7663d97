package sqldriver

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
)

// tx is an open transaction with a span.
type tx struct {
	bare  driver.Tx
	conn  *conn
	ctx   context.Context
	span  *dendro.Span
	outer *dendro.Span // the span in the context of the transaction; may be nil
}

func (t *tx) unwrap() any { return t.bare }

func (t *tx) Commit() error { return t.end("commit", t.bare.Commit) }

func (t *tx) Rollback() error { return t.end("rollback", t.bare.Rollback) }

func (t *tx) end(outcome string, f func() error) error {
	if t.conn.tx != t {
		return f() // the transaction has ended
	}
	t.conn.tx = nil
	began := monotonic.Now()
	_, err := call(t.span, func() (struct{}, error) { return struct{}{}, f() })
	t.span.AddEventAt(began, time.Since(began), outcome)
	switch {
	case err != nil:
		t.conn.db.fail(t.span, err)
	case outcome == "rollback" && t.ctx.Err() != nil: // the reason why database/sql rolled back
		t.conn.db.fail(t.span, t.ctx.Err())
		fallthrough
	default:
		t.span.SetAttributes(slog.String(outcomeKey, outcome))
	}
	t.span.End()
	return err
}
