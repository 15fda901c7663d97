package sqltext

import (
	"hash/maphash"
	"log/slog"
	"runtime"
	"strconv"
	"sync"

	"github.com/dendrotrace/dendro/internal/caller"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// AppendCaller appends the place in the program that executed the statement to attrs. It
// takes a few microseconds. It appends nothing if the program is not on the stack.
func AppendCaller(attrs []slog.Attr) []slog.Attr {
	var pcs [32]uintptr
	for frame := range caller.Program(pcs[:runtime.Callers(3, pcs[:])]) {
		return append(attrs,
			slog.String(semconv.CodeFunctionName, frame.Function),
			slog.String(semconv.CodeFilePath, frame.File),
			slog.Int(semconv.CodeLineNumber, frame.Line))
	}
	return attrs
}

// places maps program counters to a hash of their file and line, or to 0 if they are
// not of the program. Its size is bounded by the number of calls of these
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
	if caller.IsProgram(frame) {
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
