package sqldriver

import (
	"context"
	"database/sql/driver"
	"log/slog"
	"slices"
	"sync/atomic"
)

var _ driver.DriverContext = (*wrappedDriver)(nil)

// wrappedDriver always has OpenConnector. If the driver has none, wrappedDriver does
// what sql.Open does in that case.
type wrappedDriver struct {
	bare    driver.Driver
	name    string // name that it is registered under, or "" if unknown
	options Options
	db      atomic.Pointer[database] // of its connectors, see opened; nil before there is one
}

// WrapDriver returns d with tracing. If d is a wrapped driver, WrapDriver wraps the
// driver inside it.
func WrapDriver(d driver.Driver, o Options) driver.Driver { return wrapDriver(d, "", o) }

func wrapDriver(d driver.Driver, name string, o Options) *wrappedDriver {
	if w, ok := d.(*wrappedDriver); ok {
		d = w.bare
		if name = w.name; o.System == "" {
			o.System = w.options.System
		}
	}
	return &wrappedDriver{bare: d, name: name, options: o}
}

// opened remembers db, which a connector of d opens. A driver that is registered has many
// connectors, and a sql.DB only tells its driver: if they open different databases,
// d.db has only what they have in common.
func (d *wrappedDriver) opened(db *database) {
	if d.db.CompareAndSwap(nil, db) {
		return
	}
	if old := d.db.Load(); !slices.EqualFunc(old.attrs, db.attrs, slog.Attr.Equal) {
		d.db.CompareAndSwap(old, newDatabase(d, ""))
	}
}

func (d *wrappedDriver) unwrap() any { return d.bare }

func (d *wrappedDriver) Open(dsn string) (driver.Conn, error) {
	bare, err := d.bare.Open(dsn)
	return newDatabase(d, dsn).wrapConn(bare, err, opening{})
}

func (d *wrappedDriver) OpenConnector(dsn string) (driver.Connector, error) {
	bare := driver.Connector(dsnConnector{dsn, d.bare})
	if dc, ok := d.bare.(driver.DriverContext); ok {
		var err error
		if bare, err = dc.OpenConnector(dsn); err != nil {
			return bare, err
		}
	}
	return newConnector(bare, d, dsn), nil
}

// dsnConnector is the connector for a driver that has none.
type dsnConnector struct {
	dsn    string
	driver driver.Driver
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }
