//go:build !go1.27

package sqldriver

import "database/sql/driver"

// exactScanned returns nil: before Go 1.27 no rows assign columns themselves.
func exactScanned(uint, rows, resultSets, scanTyper, typeNamer, lengther, nullabler, precisioner) driver.Rows {
	return nil
}
