// Package sqldriver wraps drivers of database/sql. Each query, exec and transaction
// becomes a span below the span in its context.
//
//	db, err := sqldriver.Open("postgres", dsn, sqldriver.Options{})
//
// # Spans
//
// The span of a query lasts from the call until its rows are closed. If the driver
// returns [driver.ErrSkip] and database/sql therefore prepares the statement, the
// preparation belongs to the same span. A preparation has a span of its own only if
// the program prepares the statement itself, or if the driver cannot execute a text
// directly. A transaction is a span from begin to commit or rollback. Its statements
// are below it, unless their context has a span that was started inside the
// transaction. Pings are not traced. Connections are traced only if they fail, as a
// span "connect".
//
// Names and attributes follow the OpenTelemetry conventions for SQL databases.
// Literals in the text of a statement are replaced by "?", and so are the values that
// an error message quotes, see [Options.RawStatements]. Arguments are recorded only by
// [Options.Args]. The span of a slow statement has the place in the program that
// executed it, see [Options.Slow]. Events are "connect" if a connection was opened for
// the call, "pool wait", see [DB], and "prepare". This package adds the attributes
//
//	dendro.db.affected_rows         number of rows that an exec changed
//	dendro.db.first_row_ns          nanoseconds from the call to the first row
//	dendro.db.returned_bytes        size of the texts and binary values in the rows,
//	                                unless the driver assigns them itself
//	                                (driver.RowsColumnScanner)
//	dendro.db.transaction.outcome   "commit" or "rollback"
//	dendro.db.repeated              true on a span below which a statement was
//	                                executed five times or more, see the event
//	                                "repeated statement"
//	dendro.db.repeated.<summary>    number of its executions
//	dendro.db.plan                  see [Options.Explain]
//
// # Transparency
//
// The wrapped values have exactly the optional interfaces of the driver's values, with
// one exception. Where database/sql has two interfaces for the same purpose, the
// wrapper has the one with a context. If the driver has only the other, the wrapper
// does what database/sql would do with it. These are ExecerContext for Execer,
// QueryerContext for Queryer, ConnPrepareContext for Prepare, ConnBeginTx for Begin,
// StmtExecContext and StmtQueryContext for Stmt, and DriverContext for Driver. Results
// are the driver's own. [Unwrap] returns the driver's value for a wrapped one.
//
// # Concurrency
//
// Wrapped values may be used like the driver's values: a [sql.DB], a driver and a
// connector by several goroutines at once, and a connection by one at a time.
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
	"github.com/dendrotrace/dendro/sqldriver/internal/drivernames"
)

// Options configures tracing. The zero value is ready to use.
type Options struct {
	// Tracer makes the spans. If it is nil, the tracer of the span in the context is
	// used or, for a new trace (see Roots), [dendro.Default] at the time of the call.
	Tracer *dendro.Tracer
	// System is the attribute db.system.name, for example "postgresql". It also
	// determines the dialect of the statements. If it is empty, it is derived from the
	// name or type of the driver. For an unknown driver it is "other_sql".
	System string
	// Roots makes statements begin a new trace if their context has no span. By
	// default these are not traced.
	Roots bool
	// Slow is the duration from which on a statement has the place in the program that
	// executed it, as code.function.name, code.file.path and code.line.number. If it
	// is zero, it is 100 ms. If it is negative, no place is recorded.
	Slow time.Duration
	// Explain is the duration from which on the plan of a query is recorded, as a span
	// below the span of the query. If it is zero, no plans are recorded.
	//
	// The query must be a single SELECT of at most 8 KiB, without words that lock or
	// change anything, on PostgreSQL, CockroachDB, MySQL, MariaDB or SQLite. The plan
	// is requested in the background, in a read-only transaction on a connection of
	// its own. That happens one at a time, at most once a second and once a minute for
	// the same statement, and takes at most five seconds. Closing the sql.DB ends it.
	// The database may call functions of the query to make the plan.
	Explain time.Duration
	// Comments appends a comment with the traceparent of the span to each SELECT,
	// INSERT, UPDATE, DELETE, REPLACE and MERGE, so that the logs of the database name
	// the trace. Prepared statements, statements that have a comment, and texts of
	// several statements are left unchanged. Drivers that cache prepared statements by
	// their text, such as pgx, no longer benefit from that, because every text is
	// different.
	Comments bool
	// Args returns the text that is recorded for an argument, as
	// db.query.parameter.<name> or, counting from 0, db.query.parameter.<number>. If
	// ok is false, the argument is not recorded. Several goroutines may call Args at
	// once. If it is nil, no arguments are recorded.
	Args func(query string, arg driver.NamedValue) (value string, ok bool)
	// RawStatements records statements and error messages unchanged, including
	// literals. By default literals are replaced by "?". In both cases at most 2 KiB
	// of a statement are recorded.
	RawStatements bool
}

// equal reports whether o and p are the same. Functions are never the same.
func (o Options) equal(p Options) bool {
	return o.Args == nil && p.Args == nil && o.Tracer == p.Tracer && o.System == p.System && o.Roots == p.Roots &&
		o.Slow == p.Slow && o.Explain == p.Explain && o.Comments == p.Comments && o.RawStatements == p.RawStatements
}

// Open is [sql.Open] with a wrapped driver. It does not connect either.
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

// Register registers the wrapped driver for [sql.Open] and returns its name, which is
// "dendro:" followed by driverName, with a number if that name is taken. The same
// driver and options get the same name again, unless the options have Args.
//
// sqlx does not know the name, and so not the placeholders of the database. Import
// package sqlxdb, which tells sqlx, or call
//
//	sqlx.BindDriver(name, sqlx.BindType(driverName))
//
// Register looks the driver up with an empty data source name. It fails if the driver
// does not accept that. In this case, use [WrapDriver] and [sql.Register].
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
	drivernames.Add(name, driverName)
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

// registered returns the driver with the given name. Only a [sql.DB] gives access to
// it. It is closed before it connects.
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

// wrapper is a value of this package that wraps a value of the driver.
type wrapper interface{ unwrap() any }

// Unwrap returns the driver's value for a wrapped driver.Driver, Connector, Conn,
// Stmt, Rows or Tx. It returns any other value unchanged. Use it for features of a
// driver beyond database/sql:
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
