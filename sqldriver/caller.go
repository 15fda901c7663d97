package sqldriver

import (
	"log/slog"
	"runtime"
	"strings"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// between are the packages that stand between a program and its driver.
var between = []string{
	"database/sql.", "github.com/dendrotrace/dendro/sqldriver.", "github.com/dendrotrace/dendro/sqldriver/",
	"github.com/jmoiron/sqlx.", "gorm.io/gorm", "entgo.io/ent/", "github.com/uptrace/bun", "runtime.",
}

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
	for _, prefix := range between {
		if strings.HasPrefix(frame.Function, prefix) {
			return !strings.HasSuffix(frame.File, "_test.go") // of these packages
		}
	}
	return false
}
