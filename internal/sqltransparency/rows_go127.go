//go:build go1.27

package sqltransparency

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
)

const rowsParts = 7

func rowsWith(has uint, r *rows) driver.Rows {
	if has >= rowsOfToday {
		return scannedRowsWith(has-rowsOfToday, scannedRows{r}, r)
	}
	return plainRowsWith(has, r, r)
}

// scannedRows assign the columns themselves.
type scannedRows struct{ *rows }

func (r scannedRows) NextRow() error { return r.advance("NextRow", "") }

func (r scannedRows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	if err := r.d.call(r.name, "ScanColumn", fmt.Sprintf("%d %T", i, dest), errPlain, errCoded); err != nil {
		return err
	}
	return sql.ConvertAssign(ctx, dest, r.row[i])
}

var scannerProbes = []probe{probeOf[driver.RowsColumnScanner]("RowsColumnScanner")}
