package sqldriver

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

const (
	// explainTimeout bounds the duration of an EXPLAIN, including its connection.
	explainTimeout = 5 * time.Second
	// explainPause is the shortest time between two EXPLAINs, and explainAgain between
	// two of the same statement.
	explainPause = time.Second
	explainAgain = time.Minute
	// maxPlan bounds the size of a recorded plan in bytes.
	maxPlan = 8 << 10
)

// copyArgs returns copies of args, which remain valid after the call. It returns nil
// if an argument may refer to memory that it cannot copy.
func copyArgs(args []driver.NamedValue) []driver.NamedValue {
	copies := append([]driver.NamedValue{}, args...)
	for i, a := range copies {
		switch v := a.Value.(type) {
		case nil, time.Time:
		case []byte:
			copies[i].Value = bytes.Clone(v)
		default:
			t := reflect.TypeOf(v)
			for t.Kind() == reflect.Array {
				t = t.Elem()
			}
			if k := t.Kind(); k != reflect.String && (k < reflect.Bool || k > reflect.Complex128) {
				return nil
			}
		}
	}
	return copies
}

// explains manages the EXPLAINs of a database.
type explains struct {
	mu     sync.Mutex
	closed bool               // guarded by mu, like the fields below
	last   time.Time          // start of the last EXPLAIN
	cancel context.CancelFunc // cancels the running EXPLAIN
	done   chan struct{}      // closed when the running EXPLAIN has ended; nil if there is none
}

// explain asks for the plan of s, which took that long below span, unless args is nil,
// an EXPLAIN is running, or it is too early for another one. It does so in another
// goroutine and on a connection of its own. The plan is a span below span.
func (db *database) explain(span *dendro.Span, s *statement, args []driver.NamedValue, took time.Duration) {
	if args == nil || took < db.options.Explain || db.connector == nil {
		return
	}
	x, now := &db.explains, monotonic.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed || x.done != nil || now.Sub(x.last) < explainPause || now.Sub(s.explained) < explainAgain {
		return
	}
	ctx, cancel := context.WithTimeout(dendro.ContextWithSpan(context.Background(), span), explainTimeout)
	x.last, s.explained = now, now
	x.cancel, x.done = cancel, make(chan struct{})
	go func() {
		defer x.end()
		ctx, span := db.start(ctx, "EXPLAIN "+s.summary, s.attrs)
		defer span.End()
		plan, err := db.plan(ctx, sqltext.ExplainPrefix(db.system)+s.query, args)
		if err == nil && !db.options.RawStatements {
			plan, err = sqltext.RedactPlan(db.system, plan)
		}
		if err != nil { // not an error of the program
			plan = "no plan: " + db.message(err)
		}
		span.SetAttributes(slog.String(planKey, sqltext.Shorten(plan, maxPlan)))
	}()
}

func (x *explains) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancel()
	close(x.done)
	x.done = nil
}

// close cancels a running EXPLAIN and waits for it. If the driver ignores the
// cancellation, it waits for at most explainTimeout. No EXPLAIN begins afterwards.
func (x *explains) close() {
	x.mu.Lock()
	x.closed = true
	cancel, done := x.cancel, x.done
	x.mu.Unlock()
	if done == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-time.After(explainTimeout):
	}
}

// plan executes query on a connection of its own and returns its rows as lines of
// text. It uses a read-only transaction, because planning may execute code: PostgreSQL
// may call functions that are declared immutable or stable, and MariaDB evaluates some
// subqueries.
func (db *database) plan(ctx context.Context, query string, args []driver.NamedValue) (text string, err error) {
	defer func() {
		if p := recover(); p != nil { // a panic of the driver
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	pool := sql.OpenDB(struct{ driver.Connector }{db.connector}) // hides Close, which would close the connector
	defer func() { err = errors.Join(err, pool.Close()) }()
	pool.SetMaxOpenConns(1)
	values := make([]any, len(args))
	for i, a := range args {
		if values[i] = a.Value; a.Name != "" {
			values[i] = sql.Named(a.Name, a.Value)
		}
	}
	tx, err := pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.QueryContext(ctx, query, values...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	var b strings.Builder
	for rows.Next() && b.Len() < maxPlan {
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		show := cells
		if db.system == "sqlite" {
			show = cells[len(cells)-1:] // the columns are id, parent, notused, detail
		}
		for _, c := range show {
			b.WriteString(c.String)
			b.WriteByte('\n')
		}
	}
	return strings.TrimRight(b.String(), "\n"), rows.Err()
}
