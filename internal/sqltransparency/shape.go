package sqltransparency

import (
	"context"
	"database/sql/driver"
	"io"
	"strings"
)

// Numbers of bits of a shape, one for each optional interface.
const (
	connParts = 6 // exec, query, Pinger, NamedValueChecker, SessionResetter, Validator
	stmtParts = 2 // NamedValueChecker, ColumnConverter
)

// shape says which optional interfaces the values of a driver have.
type shape struct {
	era        int // of the methods: what each has beside the optional interfaces
	conn       uint
	stmt       uint
	rows       uint
	withCloser bool // the connector has Close
	connector  bool // the driver has OpenConnector
}

// String describes the connections and statements.
func (s shape) String() string {
	if s.era >= pureEras {
		return "with old and new methods mixed"
	}
	list := func(has uint, probes []probe) string {
		var names []string
		for i, p := range probes {
			if has&(1<<i) != 0 {
				names = append(names, p.name)
			}
		}
		if len(names) == 0 {
			return "nothing"
		}
		return strings.Join(names, ", ")
	}
	out := "whose connections have " + list(s.conn, connProbes) + ", and statements " + list(s.stmt, stmtProbes)
	if s.era == old {
		out += ", all without contexts"
	}
	return out
}

// Eras of connections and statements. Mixed ones have all optional interfaces.
const (
	today       = iota // with contexts
	old                // Execer, Queryer and what driver.Conn and driver.Stmt have
	mixed              // some with contexts, some without
	mixedAgain         // the other way round
	eras        = 4
	pureEras    = 2
	rowsOfToday = 1 << 6 // shapes of rows before RowsColumnScanner
)

// todayConn is a connection that has the methods with contexts.
type todayConn struct {
	*conn
	preparer
	beginner
}

// todayStmt is a statement that has the methods with contexts.
type todayStmt struct {
	*stmt
	stmtExecer
	stmtQueryer
}

func (s shape) newConn(c *conn) driver.Conn {
	parts := struct {
		pinger
		checker
		resetter
		validator
	}{pinger{c}, checker{c}, resetter{c}, validator{c}}
	switch s.era {
	case today:
		return todayConnWith(s.conn, todayConn{c, preparer{c}, beginner{c}}, c)
	case old:
		return oldConnWith(s.conn, c, c)
	case mixed:
		return struct {
			*conn
			preparer
			oldExecer
			queryer
			pinger
			checker
			resetter
			validator
		}{c, preparer{c}, oldExecer{c}, queryer{c}, parts.pinger, parts.checker, parts.resetter, parts.validator}
	}
	return struct {
		*conn
		beginner
		execer
		oldExecer // never called
		oldQueryer
		pinger
		checker
		resetter
		validator
	}{c, beginner{c}, execer{c}, oldExecer{c}, oldQueryer{c}, parts.pinger, parts.checker, parts.resetter, parts.validator}
}

func (s shape) newStmt(t *stmt) driver.Stmt {
	switch s.era {
	case today:
		return todayStmtWith(s.stmt, todayStmt{t, stmtExecer{t}, stmtQueryer{t}}, t)
	case old:
		return oldStmtWith(s.stmt, t, t)
	case mixed:
		return struct {
			*stmt
			stmtExecer
			converter
		}{t, stmtExecer{t}, converter{t}}
	}
	return struct {
		*stmt
		stmtQueryer
		stmtChecker
	}{t, stmtQueryer{t}, stmtChecker{t}}
}

// newDriver returns a driver whose values have this shape.
func (s shape) newDriver(d *scriptedDriver) driver.Driver {
	if !s.connector {
		return plainDriver{d}
	}
	if s.withCloser {
		return connectorDriver{plainDriver{d}, func(dsn string) driver.Connector {
			return closingConnector{connector{plainDriver{d}, dsn}}
		}}
	}
	return connectorDriver{plainDriver{d}, func(dsn string) driver.Connector { return connector{plainDriver{d}, dsn} }}
}

type plainDriver struct{ d *scriptedDriver }

func (d plainDriver) Open(dsn string) (driver.Conn, error) { return d.d.connect(dsn) }

type connectorDriver struct {
	plainDriver
	open func(dsn string) driver.Connector
}

func (d connectorDriver) OpenConnector(dsn string) (driver.Connector, error) {
	if err := d.d.call("driver", "OpenConnector", dsn); err != nil {
		return nil, err
	}
	return d.open(dsn), nil
}

type connector struct {
	plainDriver
	dsn string
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	return c.d.connect(c.dsn + c.d.describeContext(ctx))
}

func (c connector) Driver() driver.Driver { return c.plainDriver }

type closingConnector struct{ connector }

func (c closingConnector) Close() error { return c.d.call("connector", "Close", "", errPlain) }

// Open returns the connector that [database/sql.Open] would use for a registered
// driver.
func Open(d driver.Driver, dsn string) (driver.Connector, error) {
	if c, ok := d.(driver.DriverContext); ok {
		return c.OpenConnector(dsn)
	}
	return dsnConnector{dsn, d}, nil
}

type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }

var _ io.Closer = closingConnector{}
