// Package caller tells a program on the stack from the packages that it calls.
package caller

import (
	"iter"
	"path"
	"reflect"
	"runtime"
	"strings"
)

// packages are those between a program and a span.
var packages = []string{
	"database/sql.", "net/http.", "runtime.", "testing.",
	"github.com/dendrotrace/dendro.", "github.com/dendrotrace/dendro/dendrotest.", "github.com/dendrotrace/dendro/internal/sqltext.",
	"github.com/dendrotrace/dendro/middleware.",
	"github.com/dendrotrace/dendro/sqldriver.", "github.com/dendrotrace/dendro/sqldriver/", "github.com/dendrotrace/dendro/transport.",
	"github.com/dendrotrace/dendro/otelbridge.", "go.opentelemetry.io/otel", "go.opentelemetry.io/contrib/",
	"github.com/go-chi/chi/v5.", "github.com/jmoiron/sqlx.", "gorm.io/gorm", "entgo.io/ent/", "github.com/uptrace/bun",
	"github.com/jackc/pgx/v5", "github.com/exaring/otelpgx.",
}

// directories are those of some of these packages. They are needed because a closure has
// the name of the function that it was inlined into.
var directories = func() []string {
	cut, _ := runtime.FuncForPC(reflect.ValueOf(strings.Cut).Pointer()).FileLine(0)
	standard := strings.TrimSuffix(path.Dir(cut), "strings")
	_, own, _, _ := runtime.Caller(0)
	module := strings.TrimSuffix(path.Dir(own), "internal/caller")
	return []string{
		standard + "database/sql/", standard + "net/http/",
		module + "dendrotest/", module + "internal/sqltext/", module + "middleware/", module + "sqldriver/", module + "transport/",
	}
}()

// IsProgram reports whether frame is of the program, and not of a package that it calls to
// make spans.
func IsProgram(frame runtime.Frame) bool {
	if frame.Function == "" {
		return false
	}
	if strings.HasSuffix(frame.File, "_test.go") { // may be a test of these packages
		return true
	}
	for _, prefix := range packages {
		if strings.HasPrefix(frame.Function, prefix) {
			return false
		}
	}
	for _, directory := range directories {
		if strings.HasPrefix(frame.File, directory) {
			return false
		}
	}
	return true
}

// Program returns the frames of the program on a stack, as [runtime.Callers] returns it, the
// innermost first.
func Program(stack []uintptr) iter.Seq[runtime.Frame] {
	return func(yield func(runtime.Frame) bool) {
		frames := runtime.CallersFrames(stack)
		for more := len(stack) > 0; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			if IsProgram(frame) && !yield(frame) {
				return
			}
		}
	}
}
