//go:build !go1.27

package sqltransparency

import "database/sql/driver"

const rowsParts = 6

func rowsWith(has uint, r *rows) driver.Rows { return plainRowsWith(has, r, r) }

var scannerProbes []probe
