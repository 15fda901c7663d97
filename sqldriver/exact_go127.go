//go:build go1.27

package sqldriver

import "database/sql/driver"

var _ driver.RowsColumnScanner = (*scannedRows)(nil)

// scannedRows are rows that assign the columns to the destinations themselves.
// database/sql calls NextRow then, and not Next.
type scannedRows struct {
	rows
	scanner driver.RowsColumnScanner
}

func (r *scannedRows) NextRow() error { return r.read(r.scanner.NextRow()) }

func (r *scannedRows) ScanColumn(ctx driver.ScanContext, index int, dest any) error {
	return r.scanner.ScanColumn(ctx, index, dest)
}

// exactScanned is exactRows for a driver's rows that are RowsColumnScanner; it
// returns nil for others.
func exactScanned(has uint, r rows, next resultSets, t scanTyper, n typeNamer, l lengther, u nullabler, p precisioner) driver.Rows {
	scanner, ok := r.bare.(driver.RowsColumnScanner)
	if !ok {
		return nil
	}
	return scannedWith(has, scannedRows{r, scanner}, next, t, n, l, u, p)
}
