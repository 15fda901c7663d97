// Package clock tells the time to code that only wants to know what lies between.
package clock

import "time"

var start = time.Now()

// Now is [time.Now] by the monotonic clock alone, which takes half as long: to set
// the wall clock does not change it. All that package dendro looks at in a time is
// its monotonic reading.
func Now() time.Time { return start.Add(time.Since(start)) }
