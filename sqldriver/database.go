package sqldriver

import (
	"cmp"
	"context"
	"database/sql/driver"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/bridge"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

// Attributes for which the OpenTelemetry conventions have no name.
const (
	firstRowKey      = "dendro.db.first_row_ns"
	returnedBytesKey = "dendro.db.returned_bytes"
	outcomeKey       = "dendro.db.transaction.outcome"
	planKey          = "dendro.db.plan"
	connectEvent     = "connect"
)

// database is what the connections to one data source share.
type database struct {
	options    Options
	system     string
	attrs      []slog.Attr // attributes of every span
	statements sqltext.Cache[statement]
	repeats    sqltext.Repeats
	connector  driver.Connector      // the driver's connector, or nil
	refused    atomic.Pointer[error] // error of the last connection that could not be opened
	explains   explains
}

func newDatabase(d *wrappedDriver, dsn string) *database {
	db := &database{options: d.options, system: d.options.System}
	if db.system == "" {
		db.system = systemOf(d.name, packageOf(d.bare))
	}
	db.attrs = append(db.attrs, slog.String(semconv.DBSystemName, db.system))
	src := parseDSN(db.system, dsn)
	if src.namespace != "" {
		db.attrs = append(db.attrs, slog.String(semconv.DBNamespace, src.namespace))
	}
	if src.address != "" {
		db.attrs = append(db.attrs, slog.String(semconv.ServerAddress, src.address))
		if src.port != 0 {
			db.attrs = append(db.attrs, slog.Int(semconv.ServerPort, src.port))
		}
	}
	db.statements.Parse = func(query string) *statement {
		s := newStatement(db.system, query, db.options.RawStatements, db.attrs)
		s.explainable = db.options.Explain > 0 && sqltext.Explainable(db.system, query)
		return s
	}
	return db
}

// systems maps parts of the names of drivers and their packages to db.system.name. The
// first match is used.
var systems = [...]struct{ part, system string }{
	{"cockroach", "cockroachdb"},
	{"postgres", "postgresql"},
	{"pgx", "postgresql"},
	{"lib/pq", "postgresql"},
	{"pq-timeouts", "postgresql"},
	{"mariadb", "mariadb"},
	{"mysql", "mysql"},
	{"sqlite", "sqlite"},
	{"sqlserver", "microsoft.sql_server"},
	{"mssql", "microsoft.sql_server"},
	{"oracle", "oracle.db"},
	{"godror", "oracle.db"},
	{"go-ora", "oracle.db"},
	{"oci8", "oracle.db"},
	{"clickhouse", "clickhouse"},
	{"trino", "trino"},
}

// systemOf returns the db.system.name for the first of names that matches.
func systemOf(names ...string) string {
	for _, name := range names {
		for _, s := range systems {
			if strings.Contains(name, s.part) {
				return s.system
			}
		}
	}
	return "other_sql"
}

// packageOf returns the import path of the package of v's type.
func packageOf(v any) string {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return ""
	}
	return t.PkgPath()
}

// start begins a client span below the span in ctx. If nothing is recorded, it returns
// a nil span and the context to continue with.
func (db *database) start(ctx context.Context, name string, attrs []slog.Attr) (context.Context, *dendro.Span) {
	return db.startAt(ctx, time.Time{}, name, attrs)
}

// startAt is start with a start time. The zero time means now.
func (db *database) startAt(ctx context.Context, began time.Time, name string, attrs []slog.Attr) (context.Context, *dendro.Span) {
	if bridge.Made(ctx, bridge.Database, db.options.Tracer) {
		return ctx, nil
	}
	o := dendro.StartOptions{Tracer: db.options.Tracer, Kind: dendro.KindClient, Time: began}
	ctx, span := dendro.StartWith(ctx, name, o, attrs...)
	if !span.IsRecorded() {
		return ctx, nil
	}
	bridge.Mark(span, bridge.Database)
	return ctx, span
}

// roots reports whether spans begin where ctx has none of package dendro.
func (o *Options) roots(ctx context.Context) bool { return o.Roots || bridge.Foreign(ctx) }

// call calls f, a call of the driver. If f panics, call ends span.
func call[T any](span *dendro.Span, f func() (T, error)) (T, error) {
	returned := false
	defer func() {
		if !returned {
			span.SetStatus(dendro.StatusError, "panic")
			span.End()
		}
	}()
	v, err := f()
	returned = true
	return v, err
}

// execution is the execution of a statement. The zero value is not traced.
type execution struct {
	db        *database
	span      *dendro.Span // nil if it is not traced
	statement *statement
	began     time.Time           // when the driver was called
	args      []driver.NamedValue // copies, or nil if no plan is wanted
	noted     bool                // the place in the program is recorded
}

// recordArgs records the arguments that Options.Args selects.
func (e *execution) recordArgs(args []driver.NamedValue) {
	for _, a := range args {
		if value, ok := e.db.options.Args(e.statement.query, a); ok {
			name := a.Name
			if name == "" {
				name = strconv.Itoa(a.Ordinal - 1)
			}
			e.span.SetAttributes(slog.String(semconv.DBQueryParameter+name, value))
		}
	}
}

// defaultSlow is the default of Options.Slow.
const defaultSlow = 100 * time.Millisecond

// slow records the place in the program that executed the statement, once, if the
// statement took long.
func (e *execution) slow(took time.Duration) {
	if threshold := e.db.options.Slow; !e.noted && threshold >= 0 && took >= cmp.Or(threshold, defaultSlow) {
		e.span.SetAttributes(sqltext.AppendCaller(nil)...)
		e.noted = true
	}
}

// endExec ends the span of an exec with its result.
func (e *execution) endExec(res driver.Result, err error) {
	if err != nil {
		e.db.fail(e.span, err)
	} else if n, ok := affectedRows(res); ok {
		e.span.SetAttributes(slog.Int64(semconv.DBAffectedRows, n))
	}
	e.slow(time.Since(e.began))
	e.span.End()
}

// affectedRows returns the rows affected by res. The program has not asked for them,
// so the method of res may fail or panic.
func affectedRows(res driver.Result) (n int64, ok bool) {
	if res == nil {
		return 0, false
	}
	defer func() {
		if recover() != nil {
			n, ok = 0, false
		}
	}()
	n, err := res.RowsAffected()
	return n, err == nil
}

// endQuery ends the span of a query that failed. Otherwise the rows end it.
func (e *execution) endQuery(ctx context.Context, bare driver.Rows, err error) (driver.Rows, error) {
	took := time.Since(e.began)
	e.slow(took)
	if err != nil {
		e.db.fail(e.span, err)
	}
	if err != nil || bare == nil {
		e.span.End()
		return bare, err
	}
	return exactRows(rows{bare: bare, execution: *e, ctx: ctx, firstRow: took}), nil
}
