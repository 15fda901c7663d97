package dendro

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/internal/monotonic"
)

// clock is the clock of one local trace: the wall clock when the trace began, plus
// what the monotonic clock has counted since. So the spans of a request are
// consistent. Its value is monotonic.Start in nanoseconds since the Unix epoch.
type clock int64

// wallClock is the result of the last reading of the wall clock.
type wallClock struct {
	clock clock
	at    int64 // nanoseconds since monotonic.Start
}

var lastWallClock atomic.Pointer[wallClock]

// maxWallAge bounds how late a local trace may notice that the wall clock was set.
// Reading the wall clock takes as long again as reading the monotonic one.
const maxWallAge = int64(100 * time.Millisecond)

// newClock returns a clock for a local trace that begins now, and the time.
func newClock() (c clock, now int64) {
	at := int64(time.Since(monotonic.Start))
	w := lastWallClock.Load()
	if w == nil || at < w.at || at-w.at >= maxWallAge {
		t := time.Now()
		at = int64(t.Sub(monotonic.Start))
		w = &wallClock{clock(t.UnixNano() - at), at}
		lastWallClock.Store(w)
	}
	return w.clock, int64(w.clock) + at
}

// now returns the current time in nanoseconds since the Unix epoch.
func (c clock) now() int64 { return int64(c) + int64(time.Since(monotonic.Start)) }

// nanos converts t, a time of the user, to nanoseconds since the Unix epoch. The zero
// time means now. A time that does not fit becomes the epoch.
func (c clock) nanos(at time.Time) int64 {
	switch seconds := at.Unix(); {
	case at.IsZero():
		return c.now()
	case at != at.Round(0): // it has a monotonic clock reading
		return max(0, int64(c)+int64(at.Sub(monotonic.Start)))
	case seconds < 0 || seconds >= math.MaxInt64/int64(time.Second):
		return 0
	}
	return at.UnixNano()
}
