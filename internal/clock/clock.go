// Package clock tells the time to code that only wants to know what lies between.
package clock

import "time"

var start = time.Now()

// Now is [time.Now] by the monotonic clock alone, which takes half as long: to set
// the wall clock does not change it. Of such a time package dendro looks at the
// monotonic reading alone.
func Now() time.Time { return start.Add(time.Since(start)) }
