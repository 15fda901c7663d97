package sqldriver

import (
	"context"
	"database/sql/driver"
	"io"
	"log/slog"
	"reflect"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// rows is the part of wrapped rows that all have. It ends the span of its
// query: when it is closed, which database/sql does at the end of the rows, at
// an error and when the context ends.
type rows struct {
	bare  driver.Rows
	db    *database
	ctx   context.Context
	span  *dendro.Span // nil once ended
	began time.Time

	count    int64
	firstRow time.Duration
	done     bool // the last row was read, or an error recorded
}

func (r *rows) unwrap() any { return r.bare }

func (r *rows) Columns() []string { return r.bare.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	err := r.bare.Next(dest)
	if err == nil {
		if r.count++; r.count == 1 {
			r.firstRow = time.Since(r.began)
		}
		return nil
	}
	r.stopped(err)
	return err
}

// stopped notes why there was no further row.
func (r *rows) stopped(err error) {
	r.done = true
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
	if r.count > 0 {
		r.span.SetAttributes(slog.Int64(semconv.DBResponseReturnedRows, r.count), slog.Int64(firstRowKey, int64(r.firstRow)))
	} else {
		r.span.SetAttributes(slog.Int64(semconv.DBResponseReturnedRows, 0))
	}
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
