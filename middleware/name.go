package middleware

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

// names are names of spans that were made before, by a hash: requests do not come from
// as many routes as there are requests. Each has two places; of a hundred names one or
// so finds both of them taken. It is made anew for each request then, and now and then
// takes one of them, so that names which nobody needs any more go.
var names [1024]atomic.Pointer[string]

// maxName is the longest name that is kept in names.
const maxName = 256

var nameSeed = maphash.MakeSeed()

// nameOf returns the name of the span of a method, as semconv names it, on a route.
func nameOf(method, route string) string {
	if route == "" {
		return method
	}
	// No two methods have the same second letter and length.
	hash := maphash.String(nameSeed, route) + 37*uint64(method[1]) + 101*uint64(len(method))
	free := uint64(2)
	for i := range uint64(2) {
		switch name := names[(hash^i)%uint64(len(names))].Load(); {
		case name == nil:
			free = i
		case len(*name) == len(method)+1+len(route) && strings.HasPrefix(*name, method) && strings.HasSuffix(*name, route):
			return *name
		}
	}
	name := method + " " + route
	if len(name) > maxName {
		return name
	}
	if free > 1 {
		if rand.Uint32()%64 > 0 {
			return name
		}
		free = uint64(len(name) % 2)
	}
	kept := name
	names[(hash^free)%uint64(len(names))].Store(&kept)
	return name
}
