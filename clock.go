package dendro

import (
	"math"
	"time"
)

// processStart is the origin of the monotonic clock, from which all times of
// spans are counted.
var processStart = time.Now()

// clock tells the time of one local trace: the wall clock is read when it begins
// and the monotonic one from then on, so that the spans of a request cannot
// disagree. It is processStart in nanoseconds since the Unix epoch, as the wall
// clock had it when the local trace began.
type clock int64

func newClock() (c clock, now int64) {
	t := time.Now()
	now = t.UnixNano()
	return clock(now - int64(t.Sub(processStart))), now
}

// now is the current time in nanoseconds since the Unix epoch.
func (c clock) now() int64 { return int64(c) + int64(time.Since(processStart)) }

// nanos brings a time of the user to c. The zero time is now; a time that does
// not fit becomes the epoch.
func (c clock) nanos(at time.Time) int64 {
	switch seconds := at.Unix(); {
	case at.IsZero():
		return c.now()
	case at != at.Round(0): // it has a reading of the monotonic clock
		return max(0, int64(c)+int64(at.Sub(processStart)))
	case seconds < 0 || seconds >= math.MaxInt64/int64(time.Second):
		return 0
	}
	return at.UnixNano()
}
