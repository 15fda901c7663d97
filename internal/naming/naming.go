// Package naming tells whether somebody needs the names of spans when they start. Package middleware learns the
// route of a request from the router, which is inside of it, so it usually names the span at the end.
package naming

import "sync/atomic"

var needs atomic.Int32

// Early adds n to how many need the names of spans when they start: 1, and later -1.
func Early(n int32) { needs.Add(n) }

// IsEarly reports whether somebody does.
func IsEarly() bool { return needs.Load() > 0 }
