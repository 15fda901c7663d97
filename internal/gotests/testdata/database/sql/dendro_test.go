package sql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/sqldriver"
)

func init() {
	o := sqldriver.Options{Roots: true}
	switch os.Getenv("DENDRO_WRAP") {
	case "driver":
		sql.DendroDriver = func(d driver.Driver) driver.Driver { return sqldriver.WrapDriver(d, o) }
		sql.DendroConnector = func(c driver.Connector) driver.Connector {
			c, _ = sqldriver.WrapDriver(opens{c.Driver(), c}, o).(driver.DriverContext).OpenConnector("")
			return c
		}
	case "connector":
		sql.DendroConnector = func(c driver.Connector) driver.Connector { return sqldriver.WrapConnector(c, o) }
		sql.DendroDriver = func(d driver.Driver) driver.Driver { return connects{d, o} }
	}
	sql.DendroRegistered()
	sql.DendroUnwrap = func(v any) any {
		v = sqldriver.Unwrap(v)
		if d, ok := v.(opens); ok {
			return d.Driver
		}
		return v
	}
	dendro.SetDefault(dendro.New(dendro.Options{Collector: &spans}))
}

// opens is a driver that opens one connector.
type opens struct {
	driver.Driver
	c driver.Connector
}

func (d opens) OpenConnector(string) (driver.Connector, error) { return d.c, nil }

// connects is a driver whose connectors are wrapped.
type connects struct {
	driver.Driver
	o sqldriver.Options
}

func (d connects) OpenConnector(dsn string) (driver.Connector, error) {
	if dc, ok := d.Driver.(driver.DriverContext); ok {
		c, err := dc.OpenConnector(dsn)
		return sqldriver.WrapConnector(c, d.o), err
	}
	return sqldriver.WrapConnector(connector{d.Driver, dsn}, d.o), nil
}

type connector struct {
	driver driver.Driver
	dsn    string
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.driver }

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Printf("dendro spans: server 0 client %d\n", spans.n.Load())
	os.Exit(code)
}

// counter is a collector that counts spans.
type counter struct{ n atomic.Int64 }

var spans counter

func (c *counter) Collect(b *dendro.Batch) error {
	c.n.Add(int64(len(b.Spans)))
	return nil
}
