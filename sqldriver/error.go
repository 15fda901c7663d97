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

// message returns what is recorded of the message of err.
func (db *database) message(err error) string {
	message := fmt.Sprint(err) // survives a panic of Error
	if !db.options.RawStatements {
		message = redactMessage(message)
	}
	return message
}

// classify returns error.type and the status code, the Go type and "" if a method of err
// panics: that of a nil pointer, for example.
func classify(err error) (kind, code string) {
	defer func() {
		if recover() != nil {
			kind, code = fmt.Sprintf("%T", err), ""
		}
	}()
	code = statusCode(err, fmt.Sprint(err))
	return errorType(err, code), code
}

// errorType returns the attribute error.type: the code of the database if there
// is one, else the name or type of the error.
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

// statusCode returns what the database calls the error: an SQLSTATE, or a
// number of MySQL, SQL Server or SQLite; "" if it is not known.
func statusCode(err error, message string) string {
	// errors.As would need a target for each; these are methods of the
	// drivers' error types, whose names nobody else uses.
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
	// go-sql-driver/mysql has fields alone: "Error 1062 (23000): Duplicate …".
	if rest, ok := strings.CutPrefix(message, "Error "); ok {
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		if after := rest[len(number):]; number != "" && (strings.HasPrefix(after, " (") || strings.HasPrefix(after, ":")) {
			return number
		}
	}
	return ""
}

// codeField returns the code in the error of mattn/go-sqlite3, which is a struct
// of the fields Code and ExtendedCode without methods for them; 0 if err is
// something else.
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
	return cmp.Or(codes[0], codes[1]) // the backup sets Code alone
}

// redactMessage replaces what message quotes, because databases quote values of
// the statement in their errors. Names are quoted too: they stay when the word
// before says that one follows. A value may hold quotes itself, so everything up
// to the last one goes.
func redactMessage(message string) string {
	for _, m := range valueMarks {
		before, rest, _ := strings.Cut(message, m.begin)
		if i := strings.LastIndex(rest, m.end); i >= 0 {
			message = before + m.begin + "?" + rest[i:]
		}
	}
	kept := 0 // message[:kept] is checked
	for {
		i := strings.IndexAny(message[kept:], `'"`)
		if i < 0 {
			return message
		}
		i += kept
		if strings.HasSuffix(message[:i], "n") && strings.HasPrefix(message[i:], "'t ") { // doesn't
			kept = i + 1
			continue
		}
		quote := message[i]
		if end := strings.IndexByte(message[i+1:], quote); end >= 0 && namesFollow[lastWord(message[:i])] {
			kept = i + end + 2
			continue
		}
		rest := ""
		if last := strings.LastIndexByte(message, quote); last > i {
			rest = message[last:]
		}
		message = message[:i+1] + "?" + rest
		kept = min(i+3, len(message))
	}
}

// valueMarks are what else stands around a value: in messages of SQL Server,
// PostgreSQL and pgx, and the quotes of other languages.
var valueMarks = []struct{ begin, end string }{
	{"value is (", ")"}, {")=(", ")"}, {"unable to encode ", " into "},
	{"«", "»"}, {"»", "«"}, {"„", "“"}, {"“", "”"}, {"「", "」"},
}

// namesFollow are words before the name of something.
var namesFollow = map[string]bool{
	"relation": true, "table": true, "column": true, "constraint": true, "index": true, "key": true,
	"database": true, "schema": true, "role": true, "user": true, "type": true, "function": true,
}

func lastWord(s string) string {
	s = strings.TrimRight(s, " ")
	return strings.ToLower(s[strings.LastIndexByte(s, ' ')+1:])
}
