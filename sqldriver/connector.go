package sqldriver

import (
	"context"
	"database/sql/driver"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/monotonic"
)

type connector struct {
	bare   driver.Connector
	driver *wrappedDriver
	db     *database
}

// WrapConnector returns c with tracing, for [sql.OpenDB]. Its data source name is not
// known, so the spans do not have the address of the server.
func WrapConnector(c driver.Connector, o Options) driver.Connector {
	if w, ok := c.(wrapper); ok {
		c = w.unwrap().(driver.Connector)
	}
	return newConnector(c, wrapDriver(driverOf(c), "", o), "")
}

// driverOf returns the driver of c. It returns nil if c has none or panics, because
// database/sql would not have asked for it at this time.
func driverOf(c driver.Connector) (d driver.Driver) {
	defer func() { _ = recover() }()
	return c.Driver()
}

// newConnector wraps a connector of d. dsn is its data source name, or "" if it is not
// known.
func newConnector(bare driver.Connector, d *wrappedDriver, dsn string) driver.Connector {
	db := newDatabase(d, dsn)
	db.connector = bare
	d.opened(db)
	return exactConnector(&connector{bare, d, db})
}

// exactConnector returns c, with a Close method if the driver's connector has one or
// an EXPLAIN may be running. For a sql.DB, a Close that returns nil is the same as
// none.
func exactConnector(c *connector) driver.Connector {
	bare, ok := c.bare.(io.Closer)
	if !ok && c.db.options.Explain <= 0 {
		return c
	}
	return struct {
		*connector
		io.Closer
	}{c, connectorCloser{c.db, bare}}
}

// connectorCloser is the optional part of a connector that closes it.
type connectorCloser struct {
	db   *database
	bare io.Closer // may be nil
}

func (c connectorCloser) Close() error {
	c.db.explains.close()
	if c.bare == nil {
		return nil
	}
	return c.bare.Close()
}

func (c *connector) unwrap() any { return c.bare }

// Connect makes a span only if it fails, because no other span would show then why the
// statement was not executed.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	wait := endPoolWait(ctx)
	began := monotonic.Now()
	conn, err := c.bare.Connect(ctx)
	took := time.Since(began)
	current := dendro.SpanFromContext(ctx)
	if err != nil {
		refused := err
		c.db.refused.Store(&refused)
	}
	if err != nil && (current != nil || c.db.options.roots(ctx)) {
		_, span := c.db.startAt(ctx, began, "connect", c.db.attrs)
		wait.tell(span, began)
		c.db.fail(span, err)
		span.End()
	}
	if current == nil || onlyConnects() {
		return c.db.wrapConn(conn, err, opening{})
	}
	return c.db.wrapConn(conn, err, opening{wait, current, began, took})
}

// onlyConnects reports whether the caller is Conn or Ping of a sql.DB. Statements that
// are executed later have not waited for this connection.
func onlyConnects() bool {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, "database/sql.(*DB).Conn") || strings.HasPrefix(frame.Function, "database/sql.(*DB).Ping") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (c *connector) Driver() driver.Driver {
	if c.driver.bare == nil {
		return c.bare.Driver()
	}
	return c.driver
}
