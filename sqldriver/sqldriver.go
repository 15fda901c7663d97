// Package sqldriver wraps drivers of database/sql: each query, each exec and
// each transaction becomes one span below the span in its context.
//
//	db, err := sqldriver.Open("postgres", dsn, sqldriver.Options{})
//
// # What a span says
//
// The span of a query lasts from the call to the closing of its rows. When
// database/sql prepares a statement because the driver asked for that with
// [driver.ErrSkip], the preparation is part of the same span; only a
// preparation of the user's own, or one for a driver that cannot run a text
// directly, has its own. A transaction is a span from begin to commit or
// rollback. Its statements are below it, unless their context carries a span
// that was opened inside the transaction. Pings are not traced, and connections
// only if they fail, as a span "connect".
//
// Names and attributes are those of the OpenTelemetry conventions for SQL
// databases. The text of a statement has its literals replaced by "?", and
// what an error message quotes is replaced too, see [Options.RawStatements].
// Arguments are recorded only by [Options.Args]. A statement that takes long has
// the place in the program where it was executed, see [Options.Slow]. Events are
// "connect", when a connection was opened for the call, "pool wait", see [DB], and
// "prepare". Of this package's own are
//
//	dendro.db.affected_rows         rows changed by an exec
//	dendro.db.first_row_ns          nanoseconds from the call to the first row
//	dendro.db.returned_bytes        of the texts and binary values in the rows,
//	                                unless the driver assigns them itself
//	                                (driver.RowsColumnScanner)
//	dendro.db.transaction.outcome   "commit" or "rollback"
//	dendro.db.repeated              true on a span below which a statement was
//	                                executed five times or more, see the event
//	                                "repeated statement"
//	dendro.db.repeated.<summary>    how often
//	dendro.db.plan                  see [Options.Explain]
//
// # What the program sees
//
// The wrapped values have the optional interfaces of the driver's own values,
// no more and no less, with one exception. Where database/sql has two
// interfaces for one purpose, the wrapper has the one with a context and does
// over the other what database/sql itself does: ExecerContext for Execer,
// QueryerContext for Queryer, ConnPrepareContext for Prepare, ConnBeginTx for
// Begin, StmtExecContext and StmtQueryContext for Stmt, DriverContext for
// Driver. Results are the driver's own. [Unwrap] leads from a wrapped value to
// the driver's.
//
// # Concurrency
//
// Everything here may be used as the driver's own values may: a [sql.DB], a
// driver and a connector by many goroutines, a connection by one at a time.
package sqldriver

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
)

// Options says how statements are traced. The zero value works.
type Options struct {
	// Tracer makes the spans. Default: the tracer of the span in the context;
	// for a new trace (see Roots) dendro.Default(), looked up each time.
	Tracer *dendro.Tracer
	// System is the attribute db.system.name, such as "postgresql", and with
	// it the dialect in which statements are read. Default: known by the name
	// or type of the driver, else "other_sql".
	System string
	// Roots makes a statement without a span in its context begin a new
	// trace. Default: it is not traced.
	Roots bool
	// Slow is how long a statement takes that has the place in the program where
	// it was executed on its span, as code.function.name, code.file.path and
	// code.line.number. Default: 100 ms. With a negative value there is none.
	Slow time.Duration
	// Explain is how long a query takes whose plan is asked for then, as a span
	// below that of the query: for one SELECT of at most 8 KiB without a word that
	// locks or changes anything, on PostgreSQL, CockroachDB, MySQL, MariaDB and
	// SQLite. That is done in the background, in a read-only transaction on a
	// connection of its own, one at a time, once a second at most and once a minute
	// for the same statement, for five seconds at most. Close of the sql.DB ends it.
	// Functions that the query calls may be called for it. Default: never.
	Explain time.Duration
	// Comments appends a comment with the traceparent of the span to each SELECT,
	// INSERT, UPDATE, DELETE, REPLACE and MERGE that is executed, so that the logs
	// of the database name the trace. Prepared statements, those with a comment and
	// several in one text stay as they are. Drivers that prepare
	// each text by themselves and keep that, such as pgx, gain nothing from what
	// they keep then: every text is another. Default: no comments.
	Comments bool
	// Args returns what is recorded of an argument, as db.query.parameter.<name>
	// or <number>, the first is 0; ok false leaves it out. It is called by many
	// goroutines at once. Default: no argument is recorded.
	Args func(query string, arg driver.NamedValue) (value string, ok bool)
	// RawStatements lets statements and error messages reach the spans as they
	// are, literals included. Default: literals become "?". Either way at most
	// 2 KiB of a statement are kept.
	RawStatements bool
}

// equal reports whether o and p are the same. Functions never are.
func (o Options) equal(p Options) bool {
	return o.Args == nil && p.Args == nil && o.Tracer == p.Tracer && o.System == p.System && o.Roots == p.Roots &&
		o.Slow == p.Slow && o.Explain == p.Explain && o.Comments == p.Comments && o.RawStatements == p.RawStatements
}

// Open is [sql.Open] with a wrapped driver. Like that it does not connect.
func Open(driverName, dsn string, o Options) (*sql.DB, error) {
	d, err := registered(driverName, dsn)
	if err != nil {
		return nil, err
	}
	c, err := wrapDriver(d, driverName, o).OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// Register registers the wrapped driver for [sql.Open] and returns its name:
// "dendro:" and driverName, with a number behind if the name is taken. The
// same driver and options get the same name again, unless they have Args.
//
// The driver is looked up with an empty data source name. Register fails if it
// does not accept that; register a value from [WrapDriver] then.
func Register(driverName string, o Options) (name string, err error) {
	registry.Lock()
	defer registry.Unlock()
	for name, r := range registry.names {
		if r.driverName == driverName && r.options.equal(o) {
			return name, nil
		}
	}
	d, err := registered(driverName, "")
	if err != nil {
		return "", err
	}
	name = "dendro:" + driverName
	for n := 2; slices.Contains(sql.Drivers(), name); n++ {
		name = fmt.Sprintf("dendro:%s-%d", driverName, n)
	}
	sql.Register(name, wrapDriver(d, driverName, o))
	if registry.names == nil {
		registry.names = map[string]registration{}
	}
	registry.names[name] = registration{driverName, o}
	return name, nil
}

type registration struct {
	driverName string
	options    Options
}

var registry struct {
	sync.Mutex
	names map[string]registration // guarded by the mutex
}

// registered returns the driver of that name. The only way to it is a
// [sql.DB], which is closed before it has connected.
func registered(driverName, dsn string) (driver.Driver, error) {
	db, err := sql.Open(driverName, dsn)
	if err != nil {
		if names := sql.Drivers(); !slices.Contains(names, driverName) {
			return nil, fmt.Errorf("sqldriver: no driver %q is registered (is its import missing?); registered are: %s",
				driverName, strings.Join(names, ", "))
		}
		return nil, err
	}
	d := db.Driver()
	return d, db.Close()
}

// wrapper is a value of this package that stands for one of the driver.
type wrapper interface{ unwrap() any }

// Unwrap returns the driver's own value behind a wrapped driver.Driver,
// Connector, Conn, Stmt, Rows or Tx, and anything else as it is. It is for what
// a driver offers beyond database/sql:
//
//	conn.Raw(func(c any) error {
//		pg := sqldriver.Unwrap(c).(*stdlib.Conn).Conn()
//		...
//	})
func Unwrap(v any) any {
	for {
		w, ok := v.(wrapper)
		if !ok {
			return v
		}
		v = w.unwrap()
	}
}
