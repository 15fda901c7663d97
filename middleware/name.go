package middleware

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync/atomic"
)

// names caches names of spans by hash, since there are far fewer routes than requests.
// Each name has two places. About one name in a hundred finds both taken; it is built
// anew for each request, and sometimes replaces one of the two, so that unused names
// disappear.
var names [1024]atomic.Pointer[string]

// maxName is the length of the longest name that is cached.
const maxName = 256

var nameSeed = maphash.MakeSeed()

// nameOf returns the span name for a method, as named by semconv, and a route.
func nameOf(method, route string) string {
	if route == "" {
		return method
	}
	// No two methods have both the same length and the same second letter.
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
