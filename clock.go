package dendro

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/internal/monotonic"
)

// clock tells the time of one local trace: what the wall clock had when it began,
// and the monotonic clock from then on, so that the spans of a request cannot
// disagree. It is monotonic.Start in nanoseconds since the Unix epoch.
type clock int64

// wallClock is what was seen when the wall clock was last read.
type wallClock struct {
	clock clock
	at    int64 // nanoseconds since monotonic.Start
}

var lastWallClock atomic.Pointer[wallClock]

// maxWallAge is how late a local trace may notice that somebody has set the wall
// clock. To read it takes as long as to read the monotonic one, again.
const maxWallAge = int64(100 * time.Millisecond)

// newClock returns the clock of a local trace that begins, and the time.
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

// now is the current time in nanoseconds since the Unix epoch.
func (c clock) now() int64 { return int64(c) + int64(time.Since(monotonic.Start)) }

// nanos brings a time of the user to c. The zero time is now; a time that does
// not fit becomes the epoch.
func (c clock) nanos(at time.Time) int64 {
	switch seconds := at.Unix(); {
	case at.IsZero():
		return c.now()
	case at != at.Round(0): // it has a reading of the monotonic clock
		return max(0, int64(c)+int64(at.Sub(monotonic.Start)))
	case seconds < 0 || seconds >= math.MaxInt64/int64(time.Second):
		return 0
	}
	return at.UnixNano()
}
