// Package sqlxdb opens traced databases for use with sqlx.
package sqlxdb

import (
	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro/sqldriver"
)

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
