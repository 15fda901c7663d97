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

// manyRows is how many rows are read before their reading counts as a part of how
// long the query took.
const manyRows = 100

// rows is the part of wrapped rows that all have. It ends the span of its
// query: when it is closed, which database/sql does at the end of the rows, at
// an error and when the context ends.
type rows struct {
	execution // whose span is nil once ended
	bare      driver.Rows
	ctx       context.Context

	count    int64
	bytes    int64         // of the texts and binary values in them
	firstRow time.Duration // until there was one, or none; the call alone if nobody has asked
	done     bool          // the last row was read, or an error recorded
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

// read notes a further row, or why there was none.
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

// answered notes how long it took until the first row came, or none.
func (r *rows) answered() {
	r.firstRow = time.Since(r.began)
	if r.span != nil {
		r.slow(r.firstRow)
	}
}

// stopped notes why there was no further row.
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

// resultSets is the part of rows that has several result sets.
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

// The other optional parts of rows go straight to the driver. The interfaces of
// package driver would bring the methods of driver.Rows with them.
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
