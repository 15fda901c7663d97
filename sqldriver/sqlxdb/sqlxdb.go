// Package sqlxdb opens traced databases for use with sqlx. If it is imported, sqlx knows the
// placeholders of drivers that [sqldriver.Register] has registered, before or later, unless
// it does not know the driver.
package sqlxdb

import (
	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/internal/drivernames"
)

func init() {
	drivernames.Each(func(name, driverName string) {
		if bind := sqlx.BindType(driverName); bind != sqlx.UNKNOWN {
			sqlx.BindDriver(name, bind)
		}
	})
}

// Open is [sqlx.Open] with a wrapped driver, see [sqldriver.Open]. The [sqlx.DB] keeps
// driverName, which determines the placeholders of Rebind and of the Named methods.
// Like sqlx.Open, it does not connect.
func Open(driverName, dsn string, o sqldriver.Options) (*sqlx.DB, error) {
	db, err := sqldriver.Open(driverName, dsn, o)
	if err != nil {
		return nil, err
	}
	return sqlx.NewDb(db, driverName), nil
}
