package sqldriver

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/sqltext"
)

// fail records an error of the driver.
func (db *database) fail(span *dendro.Span, err error) {
	if span == nil {
		return
	}
	kind, code := classify(err)
	if code != "" {
		span.SetAttributes(slog.String(semconv.DBResponseStatusCode, code))
	}
	message := db.message(err)
	span.SetAttributes(slog.String(semconv.ErrorType, kind))
	span.SetStatus(dendro.StatusError, message)
	span.RecordError(err, slog.String(semconv.ExceptionMessage, message))
}

// message returns the message of err as it is recorded.
func (db *database) message(err error) string {
	message := fmt.Sprint(err) // fmt recovers from a panic of Error
	if !db.options.RawStatements {
		message = sqltext.RedactMessage(message)
	}
	return message
}

// classify returns the error.type and status code of err. If a method of err panics,
// as that of a nil pointer may, it returns the Go type and "".
func classify(err error) (kind, code string) {
	defer func() {
		if recover() != nil {
			kind, code = fmt.Sprintf("%T", err), ""
		}
	}()
	code = statusCode(err, fmt.Sprint(err))
	return errorType(err, code), code
}

// errorType returns the attribute error.type, which is the code of the database or
// else the name or type of the error.
func errorType(err error, code string) string {
	switch {
	case code != "":
		return code
	case errors.Is(err, context.Canceled):
		return "context.Canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "context.DeadlineExceeded"
	case errors.Is(err, driver.ErrBadConn):
		return "driver.ErrBadConn"
	}
	return fmt.Sprintf("%T", err)
}

// statusCode returns the database's code for the error: an SQLSTATE, or a number of
// MySQL, SQL Server or SQLite. It returns "" if the code is not known.
func statusCode(err error, message string) string {
	// errors.As would need a target for each of these methods of the drivers' error
	// types.
	for ; err != nil; err = errors.Unwrap(err) {
		switch e := err.(type) {
		case interface{ SQLState() string }: // pgx, lib/pq
			return e.SQLState()
		case interface{ SQLErrorNumber() int32 }: // go-mssqldb
			return strconv.Itoa(int(e.SQLErrorNumber()))
		case interface{ Code() int }: // modernc.org/sqlite
			return strconv.Itoa(e.Code())
		}
		if code := codeField(err); code != 0 {
			return strconv.FormatInt(code, 10)
		}
	}
	// go-sql-driver/mysql only has fields: "Error 1062 (23000): Duplicate …".
	if rest, ok := strings.CutPrefix(message, "Error "); ok {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		if after := rest[len(number):]; number != "" && (strings.HasPrefix(after, " (") || strings.HasPrefix(after, ":")) {
			return number
		}
	}
	return ""
}

// codeField returns the code of an error of mattn/go-sqlite3, which is a struct with
// the fields Code and ExtendedCode and without methods for them. It returns 0 for any
// other error.
func codeField(err error) int64 {
	v := reflect.ValueOf(err)
	if v.Kind() != reflect.Struct {
		return 0
	}
	var codes [2]int64
	for i, name := range [...]string{"ExtendedCode", "Code"} {
		f, ok := v.Type().FieldByName(name)
		if !ok || len(f.Index) != 1 || f.Type.Kind() != reflect.Int {
			return 0
		}
		codes[i] = v.Field(f.Index[0]).Int()
	}
	return cmp.Or(codes[0], codes[1]) // a backup sets only Code
}
