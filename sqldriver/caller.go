package sqldriver

import (
	"database/sql"
	"hash/maphash"
	"log/slog"
	"path"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/dendrotrace/dendro/internal/semconv"
)

// between are the packages between a program and its driver.
var between = []string{
	"database/sql.", "github.com/dendrotrace/dendro/sqldriver.", "github.com/dendrotrace/dendro/sqldriver/",
	"github.com/jmoiron/sqlx.", "gorm.io/gorm", "entgo.io/ent/", "github.com/uptrace/bun", "runtime.",
}

// directories are those of database/sql and of this package. They are needed because a
// closure of these packages has the name of the function that it was inlined into.
var directories = func() [2]string {
	standard, _ := runtime.FuncForPC(reflect.ValueOf(sql.Open).Pointer()).FileLine(0)
	_, own, _, _ := runtime.Caller(0)
	return [...]string{path.Dir(standard) + "/", path.Dir(own) + "/"}
}()

// caller appends the place in the program that executed the statement to attrs. It
// takes a few microseconds. It appends nothing if the program is not on the stack.
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
	if strings.HasSuffix(frame.File, "_test.go") { // may be a test of these packages
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

// places maps program counters to a hash of their file and line, or to 0 if they are
// in the packages of between. Its size is bounded by the number of calls of these
// packages in the program.
var places struct {
	sync.RWMutex
	of map[uintptr]uint64 // guarded by the mutex
}

// place returns a hash of the place in the program that executed the statement, or 0
// if the program is not on the stack.
func place() uint64 {
	var pcs [16]uintptr
	for skip := 3; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			places.RLock()
			h, ok := places.of[pc]
			places.RUnlock()
			if !ok {
				h = newPlace(pc)
			}
			if h != 0 {
				return h
			}
		}
		if n < len(pcs) {
			return 0
		}
	}
}

func newPlace(pc uintptr) (h uint64) {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	if frame.Function != "" && !isBetween(frame) {
		h = max(1, maphash.String(hashSeed, frame.File+":"+strconv.Itoa(frame.Line)))
	}
	places.Lock()
	defer places.Unlock()
	if places.of == nil {
		places.of = map[uintptr]uint64{}
	}
	places.of[pc] = h
	return h
}
