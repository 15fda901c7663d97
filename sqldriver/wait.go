package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// poolWait is a context that records when a call of database/sql began. The driver is
// called once there is a connection, so the time between is the wait.
type poolWait struct {
	context.Context
	began time.Time
	db    *sql.DB // may be nil
	ended atomic.Bool
}

type poolWaitKey struct{}

func (w *poolWait) Value(key any) any {
	if key == any(poolWaitKey{}) {
		return w
	}
	return w.Context.Value(key)
}

// poolWaits is set once a program measures waits. Until then nobody looks for the key.
var poolWaits atomic.Bool

// WithPoolWait returns a context for one call of db, which begins now. The span of the
// call then begins now as well. If database/sql had to wait for a connection, the span
// has an event "pool wait", with the statistics of the pool unless db is nil. [DB]
// does this by itself. WithPoolWait is for other types around a sql.DB.
func WithPoolWait(ctx context.Context, db *sql.DB) context.Context { return withPoolWait(ctx, db) }

// PoolWaitFailed reports that the call of query with ctx, a result of [WithPoolWait],
// returned err. If the call never got a connection, it gets a span with the error.
// That is the case if err is the error of the context, of a connection that could not
// be opened or is bad, or of a closed sql.DB or sql.Conn. For any other error, such as
// that of an argument, for nil, and if the db of WithPoolWait was nil, PoolWaitFailed
// does nothing.
func PoolWaitFailed(ctx context.Context, query string, err error) {
	if w, _ := ctx.Value(poolWaitKey{}).(*poolWait); w != nil && w.db != nil {
		w.failed(query, err)
	}
}

func withPoolWait(ctx context.Context, db *sql.DB) *poolWait {
	poolWaits.Store(true)
	return &poolWait{Context: ctx, began: monotonic.Now(), db: db}
}

// endPoolWait returns the wait of the call with ctx the first time it is called, and
// nil later or if nobody measures it.
func endPoolWait(ctx context.Context) *poolWait {
	if !poolWaits.Load() {
		return nil
	}
	if w, _ := ctx.Value(poolWaitKey{}).(*poolWait); w != nil && w.ended.CompareAndSwap(false, true) {
		return w
	}
	return nil
}

// minPoolWait is the shortest wait that is recorded. It is more than database/sql
// takes if there is a free connection.
const minPoolWait = 100 * time.Microsecond

// tell adds the event to span, whose call got its connection at ended.
func (w *poolWait) tell(span *dendro.Span, ended time.Time) {
	if w == nil {
		return
	}
	took := ended.Sub(w.began)
	if took < minPoolWait {
		return
	}
	if w.db == nil {
		span.AddEventAt(w.began, took, semconv.PoolWaitEvent)
		return
	}
	s := w.db.Stats()
	span.AddEventAt(w.began, took, semconv.PoolWaitEvent,
		slog.Int("db.client.connection.max", s.MaxOpenConnections),
		slog.Int("db.client.connection.used", s.InUse),
		slog.Int("db.client.connection.idle", s.Idle),
		slog.Int64("db.client.connection.waits", s.WaitCount))
}

// DB is a [sql.DB] whose spans include the wait for a connection, with the statistics
// of the pool, see [WithPoolWait]. A call that never gets a connection has a span as
// well, with the error. Methods without a context are those of the sql.DB, and so are
// methods that need no connection.
type DB struct{ *sql.DB }

// NewDB returns a DB for db, whose driver must be wrapped by this package.
func NewDB(db *sql.DB) *DB { return &DB{db} }

// PingContext is [sql.DB.PingContext].
func (db *DB) PingContext(ctx context.Context) error {
	w := withPoolWait(ctx, db.DB)
	err := db.DB.PingContext(w)
	w.failed("ping", err)
	return err
}

// ExecContext is [sql.DB.ExecContext].
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	w := withPoolWait(ctx, db.DB)
	res, err := db.DB.ExecContext(w, query, args...)
	w.failed(query, err)
	return res, err
}

// QueryContext is [sql.DB.QueryContext].
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	w := withPoolWait(ctx, db.DB)
	rows, err := db.DB.QueryContext(w, query, args...)
	w.failed(query, err)
	return rows, err
}

// QueryRowContext is [sql.DB.QueryRowContext].
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	w := withPoolWait(ctx, db.DB)
	row := db.DB.QueryRowContext(w, query, args...)
	w.failed(query, row.Err())
	return row
}

// PrepareContext is [sql.DB.PrepareContext].
func (db *DB) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	w := withPoolWait(ctx, db.DB)
	stmt, err := db.DB.PrepareContext(w, query)
	w.failed(query, err)
	return stmt, err
}

// BeginTx is [sql.DB.BeginTx].
func (db *DB) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	w := withPoolWait(ctx, db.DB)
	tx, err := db.DB.BeginTx(w, opts)
	w.failed("BEGIN", err)
	return tx, err
}

// Conn is [sql.DB.Conn].
func (db *DB) Conn(ctx context.Context) (*sql.Conn, error) {
	w := withPoolWait(ctx, db.DB)
	conn, err := db.DB.Conn(w)
	w.failed("", err)
	return conn, err
}

// failed makes the span of a call that failed before it reached the driver, because it
// got no connection.
func (w *poolWait) failed(query string, err error) {
	if err == nil || !w.ended.CompareAndSwap(false, true) {
		return
	}
	d := wrappedDriverOf(w.db)
	if d == nil {
		return
	}
	opened := d.db.Load()
	if opened == nil || !opened.noConnection(err) {
		return
	}
	current := dendro.SpanFromContext(w.Context)
	if !current.IsRecorded() && (current != nil || !d.options.roots(w.Context)) {
		return
	}
	s := opened.statements.Get(query)
	_, span := opened.startAt(w.Context, w.began, s.summary, s.attrs)
	w.tell(span, monotonic.Now())
	opened.fail(span, err)
	span.End()
}

// wrappedDriverOf returns the driver of db if it is of this package, and nil
// otherwise. A connector of the program may panic when it is asked for its driver.
func wrappedDriverOf(db *sql.DB) (d *wrappedDriver) {
	defer func() { _ = recover() }()
	d, _ = db.Driver().(*wrappedDriver)
	return d
}

// noConnection reports whether err is an error that database/sql returns instead of a
// connection. It does not wrap these errors, but wraps errors about arguments.
func (db *database) noConnection(err error) bool {
	switch err { //nolint:errorlint // see above
	case context.Canceled, context.DeadlineExceeded, sql.ErrConnDone, driver.ErrBadConn:
		return true
	}
	if fmt.Sprint(err) == "sql: database is closed" {
		return true
	}
	// Another goroutine may have opened the connection that this call waited for.
	refused := db.refused.Load()
	return refused != nil && reflect.ValueOf(*refused).Comparable() && err == *refused //nolint:errorlint // see above
}
