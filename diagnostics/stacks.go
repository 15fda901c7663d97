package diagnostics

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
)

// Stack is what goroutines of a request are doing: the calls, the innermost first, without those of
// the runtime at its top.
type Stack struct {
	Goroutines int     `json:"goroutines"` // that have this stack
	Frames     []Frame `json:"frames"`
}

// Frame is a call on a stack.
type Frame struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
	// Own reports whether the function is of the main module of the program.
	Own bool `json:"own,omitempty"`
}

const (
	// stackPeriod is the shortest time between two profiles of goroutines.
	stackPeriod = time.Second
	// maxGoroutines bounds the goroutines of a program of which a profile is made.
	maxGoroutines = 20_000
	// maxStacks and maxFrames bound the stacks of a trace and the frames of a stack.
	maxStacks, maxFrames = 32, 64
)

// stacks finds the goroutines of traces.
type stacks struct {
	mu   sync.Mutex
	made time.Time                  // guarded by mu, like the fields below
	of   map[dendro.TraceID][]Stack // is not changed once it is made
}

// all returns the stacks of the goroutines with the label trace_id. They were found within the last
// stackPeriod.
func (s *stacks) all() (map[dendro.TraceID][]Stack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.made) < stackPeriod {
		return s.of, nil
	}
	if n := runtime.NumGoroutine(); n > maxGoroutines {
		return nil, fmt.Errorf("no stacks: the program has %d goroutines, and stacks are read of up to %d", n, maxGoroutines)
	}
	var text bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
		return nil, err
	}
	s.of, s.made = parseStacks(text.Bytes()), time.Now()
	return s.of, nil
}

// traceLabel finds a label in a line such as
//
//	# labels: {"operation":"GET /", "trace_id":"5b8efff798038103d269b633813fc60c"}
//
// In the value of another label, the quotes would be escaped.
var traceLabel = regexp.MustCompile(`^# labels: (?:.*, |)\{?"trace_id":"([0-9a-f]{32})"`)

// parseStacks reads a goroutine profile as text, as pprof.Profile.WriteTo writes it with debug=1: for
// each stack a line that begins with the number of goroutines, maybe a line with labels, a line for each frame, and an empty line.
func parseStacks(profile []byte) map[dendro.TraceID][]Stack {
	out := map[dendro.TraceID][]Stack{}
	var at Stack
	var id dendro.TraceID
	for line := range strings.Lines(string(profile)) {
		line = strings.TrimSuffix(line, "\n")
		switch count, _, isFirst := strings.Cut(line, " @"); {
		case line == "":
			if id.IsValid() && len(at.Frames) > 0 {
				out[id] = append(out[id], at)
			}
			at, id = Stack{}, dendro.TraceID{}
		case strings.HasPrefix(line, "#\t"):
			if f, ok := parseFrame(line); ok && id.IsValid() && len(at.Frames) < maxFrames {
				at.Frames = append(at.Frames, f)
			}
		case strings.HasPrefix(line, "#"):
			if found := traceLabel.FindStringSubmatch(line); found != nil {
				id, _ = dendro.ParseTraceID(found[1])
			}
		case isFirst:
			at.Goroutines, _ = strconv.Atoi(count)
		}
	}
	for id, all := range out {
		slices.SortStableFunc(all, func(a, b Stack) int { return cmp.Compare(b.own(), a.own()) })
		out[id] = all[:min(len(all), maxStacks)]
	}
	return out
}

// parseFrame parses a line with an address, a function with an offset, and a file with a line,
// between tabs.
func parseFrame(line string) (f Frame, ok bool) {
	parts := strings.FieldsFunc(line, func(c rune) bool { return c == '\t' })
	if len(parts) != 4 {
		return f, false
	}
	f.Function = parts[2]
	if i := strings.LastIndex(f.Function, "+0x"); i >= 0 {
		f.Function = f.Function[:i]
	}
	i := strings.LastIndexByte(parts[3], ':')
	if i < 0 {
		return f, false
	}
	f.File = parts[3][:i]
	f.Line, _ = strconv.Atoi(parts[3][i+1:])
	f.Own = isOwn(f.Function)
	return f, true
}

// Program returns the frames from the innermost to the outermost of the program, which are all if none
// is of the program.
func (s *Stack) Program() []Frame {
	for i, f := range slices.Backward(s.Frames) {
		if f.Own {
			return s.Frames[:i+1]
		}
	}
	return s.Frames
}

// Callers returns the frames outside of those of [Stack.Program]: those that have called the program, such as a server.
func (s *Stack) Callers() []Frame { return s.Frames[len(s.Program()):] }

// own returns the number of frames of the program itself.
func (s *Stack) own() (n int) {
	for i := range s.Frames {
		if s.Frames[i].Own {
			n++
		}
	}
	return n
}

// mainModule is the path of the main module of the program, or "".
var mainModule = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Path
	}
	return ""
})

// isOwn reports whether a function is of the main module of the program.
func isOwn(function string) bool {
	rest, ok := strings.CutPrefix(function, mainModule())
	return strings.HasPrefix(function, "main.") || ok && mainModule() != "" && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "/"))
}
