package sqldriver

import (
	"context"
	"database/sql/driver"
)

//go:generate go run gen.go

// Optional parts of connections and statements that are those of the driver, under
// names that can be embedded.
type (
	pinger          = driver.Pinger
	checker         = driver.NamedValueChecker
	validator       = driver.Validator
	columnConverter = driver.ColumnConverter
)

// resetter is the part of a connection that database/sql calls before it reuses the
// connection.
type resetter struct {
	conn *conn
	driver.SessionResetter
}

func (r resetter) ResetSession(ctx context.Context) error {
	r.conn.opening = opening{} // forgets an earlier call that executed nothing
	return r.SessionResetter.ResetSession(ctx)
}

// exactConn returns c with the optional interfaces of the driver's connection. Most
// important are SessionResetter and Validator: with both of them, database/sql keeps a
// connection whose transaction was canceled.
func exactConn(c *conn) driver.Conn {
	pinger, hasPinger := c.bare.(driver.Pinger)
	checker, hasChecker := c.bare.(driver.NamedValueChecker)
	reset, hasResetter := c.bare.(driver.SessionResetter)
	validator, hasValidator := c.bare.(driver.Validator)
	has := bits(c.execCtx != nil || c.execOld != nil, c.queryCtx != nil || c.queryOld != nil,
		hasPinger, hasChecker, hasResetter, hasValidator)
	return connWith(has, c, execer{c}, queryer{c}, pinger, checker, resetter{c, reset}, validator)
}

// exactStmt returns s with the optional interfaces of the driver's statement.
func exactStmt(s *stmt) driver.Stmt {
	checker, hasChecker := s.bare.(driver.NamedValueChecker)
	converter, hasConverter := s.bare.(driver.ColumnConverter)
	return stmtWith(bits(hasChecker, hasConverter), s, checker, converter)
}

// exactRows returns r with the optional interfaces of the driver's rows, in one
// allocation.
func exactRows(r rows) driver.Rows {
	next, hasNext := r.bare.(driver.RowsNextResultSet)
	scanTyper, hasScanTyper := r.bare.(driver.RowsColumnTypeScanType)
	typeNamer, hasTypeNamer := r.bare.(driver.RowsColumnTypeDatabaseTypeName)
	lengther, hasLengther := r.bare.(driver.RowsColumnTypeLength)
	nullabler, hasNullabler := r.bare.(driver.RowsColumnTypeNullable)
	precisioner, hasPrecisioner := r.bare.(driver.RowsColumnTypePrecisionScale)
	has := bits(hasNext, hasScanTyper, hasTypeNamer, hasLengther, hasNullabler, hasPrecisioner)
	if w := exactScanned(has, r, resultSets{bare: next}, scanTyper, typeNamer, lengther, nullabler, precisioner); w != nil {
		return w
	}
	return rowsWith(has, r, resultSets{bare: next}, scanTyper, typeNamer, lengther, nullabler, precisioner)
}

// bits returns a number whose bit i is set if has[i] is true.
func bits(has ...bool) (n uint) {
	for i, h := range has {
		if h {
			n |= 1 << i
		}
	}
	return n
}
