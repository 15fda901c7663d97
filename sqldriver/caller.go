package sqldriver

import (
	"database/sql"
	"log/slog"
	"path"
	"reflect"
	"runtime"
	"strings"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// between are the packages that stand between a program and its driver.
var between = []string{
	"database/sql.", "github.com/dendrotrace/dendro/sqldriver.", "github.com/dendrotrace/dendro/sqldriver/",
	"github.com/jmoiron/sqlx.", "gorm.io/gorm", "entgo.io/ent/", "github.com/uptrace/bun", "runtime.",
}

// directories are those of database/sql and of this package: a closure of theirs has
// the name of the function that it was inlined into.
var directories = func() [2]string {
	standard, _ := runtime.FuncForPC(reflect.ValueOf(sql.Open).Pointer()).FileLine(0)
	_, own, _, _ := runtime.Caller(0)
	return [...]string{path.Dir(standard) + "/", path.Dir(own) + "/"}
}()

// caller appends to attrs where in the program the statement came from. It takes
// some microseconds. It appends nothing if the program is not on the stack.
func caller(attrs []slog.Attr) []slog.Attr {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if frame.Function != "" && !isBetween(frame) {
			return append(attrs,
				slog.String(semconv.CodeFunctionName, frame.Function),
				slog.String(semconv.CodeFilePath, frame.File),
				slog.Int(semconv.CodeLineNumber, frame.Line))
		}
		if !more {
			return attrs
		}
	}
}

func isBetween(frame runtime.Frame) bool {
	if strings.HasSuffix(frame.File, "_test.go") { // of these packages, perhaps
		return false
	}
	for _, prefix := range between {
		if strings.HasPrefix(frame.Function, prefix) {
			return true
		}
	}
	for _, directory := range directories {
		if strings.HasPrefix(frame.File, directory) {
			return true
		}
	}
	return false
}
