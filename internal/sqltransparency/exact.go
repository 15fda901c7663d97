package sqltransparency

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
)

//go:generate go run gen.go

// Library is a tracing library that wraps drivers.
type Library struct {
	Name string
	Wrap func(driver.Driver) driver.Driver
	// Context returns the context of a request whose calls are traced. If it is nil,
	// the context is used unchanged.
	Context func(context.Context) context.Context
}

// probe finds an optional interface, or one of two that database/sql uses for the same
// purpose.
type probe struct {
	name string
	has  func(v any) bool
}

func probeOf[I any](name string) probe {
	return probe{name, func(v any) bool { _, ok := v.(I); return ok }}
}

func either[I, J any](name string) probe {
	return probe{name, func(v any) bool {
		_, i := v.(I)
		_, j := v.(J)
		return i || j
	}}
}

var (
	connProbes = []probe{
		either[driver.ExecerContext, driver.Execer]("ExecerContext"),    //nolint:staticcheck // drivers still have it
		either[driver.QueryerContext, driver.Queryer]("QueryerContext"), //nolint:staticcheck // drivers still have it
		probeOf[driver.Pinger]("Pinger"), probeOf[driver.NamedValueChecker]("NamedValueChecker"),
		probeOf[driver.SessionResetter]("SessionResetter"), probeOf[driver.Validator]("Validator"),
	}
	stmtProbes = []probe{
		probeOf[driver.NamedValueChecker]("NamedValueChecker"), probeOf[driver.ColumnConverter]("ColumnConverter"), //nolint:staticcheck // drivers still have it
	}
	rowsProbes = append([]probe{
		probeOf[driver.RowsNextResultSet]("RowsNextResultSet"), probeOf[driver.RowsColumnTypeScanType]("RowsColumnTypeScanType"),
		probeOf[driver.RowsColumnTypeDatabaseTypeName]("RowsColumnTypeDatabaseTypeName"),
		probeOf[driver.RowsColumnTypeLength]("RowsColumnTypeLength"), probeOf[driver.RowsColumnTypeNullable]("RowsColumnTypeNullable"),
		probeOf[driver.RowsColumnTypePrecisionScale]("RowsColumnTypePrecisionScale"),
	}, scannerProbes...)
	connectorProbes = []probe{probeOf[io.Closer]("io.Closer")}
)

// Combination is the result of wrapping a driver's value.
type Combination struct {
	Kind  string   // "Conn", "old Conn" for one without contexts, "Stmt", "old Stmt", "Rows" or "Connector"
	Lost  []string // interfaces that only the driver's has
	Added []string // interfaces that only the wrapped one has
}

func (c Combination) String() string {
	return fmt.Sprintf("%s: lost %s; added %s", c.Kind, strings.Join(c.Lost, ", "), strings.Join(c.Added, ", "))
}

// Differs reports whether the wrapped value has other interfaces than the driver's
// value.
func (c Combination) Differs() bool { return len(c.Lost)+len(c.Added) > 0 }

func compare(kind string, bare, wrapped any, probes []probe) Combination {
	c := Combination{Kind: kind}
	for _, p := range probes {
		switch had, has := p.has(bare), p.has(wrapped); {
		case had && !has:
			c.Lost = append(c.Lost, p.name)
		case has && !had:
			c.Added = append(c.Added, p.name)
		}
	}
	return c
}

// Combinations wraps a value of every combination of optional interfaces that
// connections, statements, rows and connectors can have.
func Combinations(l Library) ([]Combination, error) {
	e := enumeration{library: l}
	for era, prefix := range []string{"", "old "} {
		for has := range uint(1) << connParts {
			e.add(prefix+"Conn", shape{era: era, conn: has})
		}
		for has := range uint(1) << stmtParts {
			e.add(prefix+"Stmt", shape{era: era, stmt: has})
		}
	}
	for has := range uint(1) << rowsParts {
		e.add("Rows", shape{rows: has})
	}
	for _, closer := range []bool{false, true} {
		e.add("Connector", shape{connector: true, withCloser: closer})
	}
	e.add("Connector", shape{}) // of a driver without OpenConnector
	return e.found, e.err
}

// enumeration wraps values until there is an error.
type enumeration struct {
	library Library
	found   []Combination
	err     error
}

// add compares a value of the given kind with the wrapped one.
func (e *enumeration) add(kind string, s shape) {
	if e.err != nil {
		return
	}
	bare, err := open(s, Library{})
	if err != nil {
		e.err = err
		return
	}
	wrapped, err := open(s, e.library)
	if err != nil {
		e.err = fmt.Errorf("%s: %w", kind, err)
		return
	}
	last := strings.TrimPrefix(kind, "old ")
	for _, v := range []struct {
		kind          string
		bare, wrapped any
		probes        []probe
	}{
		{"Connector", bare.connector, wrapped.connector, connectorProbes},
		{"Conn", bare.conn, wrapped.conn, connProbes},
		{"Stmt", bare.stmt, wrapped.stmt, stmtProbes},
		{"Rows", bare.rows, wrapped.rows, rowsProbes},
	} {
		if v.kind == last {
			e.found = append(e.found, compare(kind, v.bare, v.wrapped, v.probes))
		}
	}
}

// values has one value of each kind.
type values struct {
	connector driver.Connector
	conn      driver.Conn
	stmt      driver.Stmt
	rows      driver.Rows
}

// open gets values of the given shape through a library.
func open(s shape, l Library) (v values, err error) {
	d := s.newDriver(newScriptedDriver(s, script{}))
	ctx := context.Background()
	if l.Wrap != nil {
		d = l.Wrap(d)
	}
	if l.Context != nil {
		ctx = l.Context(ctx)
	}
	if v.connector, err = Open(d, "dsn"); err != nil {
		return v, err
	}
	if v.conn, err = v.connector.Connect(ctx); err != nil {
		return v, err
	}
	if p, ok := v.conn.(driver.ConnPrepareContext); ok {
		v.stmt, err = p.PrepareContext(ctx, "SELECT 1")
	} else {
		v.stmt, err = v.conn.Prepare("SELECT 1")
	}
	if err != nil {
		return v, err
	}
	if q, ok := v.stmt.(driver.StmtQueryContext); ok {
		v.rows, err = q.QueryContext(ctx, nil)
	} else {
		v.rows, err = v.stmt.Query(nil) //nolint:staticcheck // the driver has no other
	}
	return v, err
}
