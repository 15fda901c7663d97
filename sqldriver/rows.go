package sqldriver

import (
	"context"
	"database/sql/driver"
	"io"
	"log/slog"
	"reflect"
	"time"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// manyRows is the number of rows from which on reading the rows counts as part of the
// duration of the query.
const manyRows = 100

// rows is the part of wrapped rows that does not depend on the driver. It ends the
// span of its query when it is closed. database/sql closes rows at their end, after an
// error and when the context is done.
type rows struct {
	execution // its span is nil once it has ended
	bare      driver.Rows
	ctx       context.Context

	count    int64
	bytes    int64         // size of the texts and binary values
	firstRow time.Duration // time to the first row or to the end; if no row was read, to the return of the call
	done     bool          // the last row was read, or an error was recorded
}

func (r *rows) unwrap() any { return r.bare }

func (r *rows) Columns() []string { return r.bare.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	err := r.bare.Next(dest)
	if err == nil {
		for i := range dest {
			switch v := dest[i].(type) {
			case []byte:
				r.bytes += int64(len(v))
			case string:
				r.bytes += int64(len(v))
			}
		}
	}
	return r.read(err)
}

// read records that a row was read, or why it could not be.
func (r *rows) read(err error) error {
	if err == nil {
		if r.count++; r.count == 1 {
			r.answered()
		}
		return nil
	}
	r.stopped(err)
	return err
}

// answered records the time to the first row, or to the end if there is no row.
func (r *rows) answered() {
	r.firstRow = time.Since(r.began)
	if r.span != nil {
		r.slow(r.firstRow)
	}
}

// stopped records why there is no further row.
func (r *rows) stopped(err error) {
	r.done = true
	if r.count == 0 {
		r.answered()
	}
	if err != io.EOF {
		r.db.fail(r.span, err)
	}
}

func (r *rows) Close() error {
	if r.span == nil {
		return r.bare.Close()
	}
	_, err := call(r.span, func() (struct{}, error) { return struct{}{}, r.bare.Close() })
	if err != nil && !r.done {
		r.db.fail(r.span, err)
	} else if !r.done && r.ctx.Err() != nil {
		r.db.fail(r.span, r.ctx.Err())
	}
	took := r.firstRow
	if r.count > manyRows {
		took = time.Since(r.began)
	}
	r.db.explain(r.span, r.statement, r.args, took)
	attrs := append(make([]slog.Attr, 0, 3), slog.Int64(semconv.DBResponseReturnedRows, r.count))
	if r.count > 0 {
		attrs = append(attrs, slog.Int64(firstRowKey, int64(r.firstRow)))
	}
	if r.bytes > 0 {
		attrs = append(attrs, slog.Int64(returnedBytesKey, r.bytes))
	}
	r.span.SetAttributes(attrs...)
	r.span.End()
	r.span = nil
	return err
}

// resultSets is the optional part of rows with several result sets.
type resultSets struct {
	of   *rows
	bare driver.RowsNextResultSet
}

func (s resultSets) HasNextResultSet() bool { return s.bare.HasNextResultSet() }

func (s resultSets) NextResultSet() error {
	err := s.bare.NextResultSet()
	s.of.done = false
	if err != nil {
		s.of.stopped(err)
	}
	return err
}

// The other optional parts of rows are those of the driver. The interfaces of package
// driver cannot be embedded, because they include the methods of driver.Rows.
type (
	scanTyper interface {
		ColumnTypeScanType(index int) reflect.Type
	}
	typeNamer interface {
		ColumnTypeDatabaseTypeName(index int) string
	}
	lengther interface {
		ColumnTypeLength(index int) (length int64, ok bool)
	}
	nullabler interface {
		ColumnTypeNullable(index int) (nullable, ok bool)
	}
	precisioner interface {
		ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool)
	}
)
