package sql

import "database/sql/driver"

// Functions that the edited tests call. Package sql_test sets them, because it may
// import packages that import this one.
var (
	DendroDriver    = func(d driver.Driver) driver.Driver { return d }
	DendroConnector func(driver.Connector) driver.Connector
	DendroUnwrap    func(any) any
)

// DendroRegistered wraps the drivers that were registered before DendroDriver was set.
func DendroRegistered() {
	for name, d := range drivers {
		drivers[name] = DendroDriver(d)
	}
}
