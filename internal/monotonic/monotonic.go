// Package monotonic reads the monotonic clock.
package monotonic

import "time"

// Start is the origin from which package dendro counts the times of spans, and Now. There
// is one, because two would not agree on what lies between the wall clock and this one.
var Start = time.Now()

// Now is [time.Now] by the monotonic clock alone, which takes half as long: to set
// the wall clock does not change it. Of such a time package dendro looks at the
// monotonic reading alone.
func Now() time.Time { return Start.Add(time.Since(Start)) }
