// Package goroutine tells goroutines apart.
package goroutine

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"unsafe"
)

// ID returns the number of the current goroutine, which is that in stack traces and in execution traces. No
// other goroutine of the process ever has it. It is 0 if Go does not tell.
//
// On amd64 and arm64 it takes some nanoseconds: the number is read from the runtime's own record of the goroutine.
// Where in the record it is depends on the version of Go, so it is looked for once. On other
// architectures, and if it is not found, ID takes a microsecond or more.
func ID() uint64 {
	if at := place(); at != 0 {
		return *(*uint64)(unsafe.Add(record(), at))
	}
	return printed()
}

// printed returns the number that [runtime.Stack] prints.
func printed() uint64 {
	var text [64]byte
	fields := bytes.Fields(text[:runtime.Stack(text[:], false)]) // goroutine 18 [running]:
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

const (
	word    = 8
	words   = 40 // of the record, which has more
	samples = 4  // goroutines whose numbers must be in the same place
)

// place returns the offset of the number in the record of a goroutine, or 0 if there is not exactly one
// place that has the number of each of several goroutines.
var place = sync.OnceValue(func() uintptr {
	if record() == nil {
		return 0
	}
	found := places()
	for range samples {
		other := make(chan map[uintptr]bool)
		go func() { other <- places() }()
		there := <-other
		for at := range found {
			if !there[at] {
				delete(found, at)
			}
		}
	}
	if len(found) == 1 {
		for at := range found {
			return at
		}
	}
	return 0
})

// places returns the offsets of all words in the record of the current goroutine that equal its number.
func places() map[uintptr]bool {
	g, id := record(), printed()
	found := map[uintptr]bool{}
	for at := uintptr(word); at < words*word && id != 0; at += word {
		if *(*uint64)(unsafe.Add(g, at)) == id {
			found[at] = true
		}
	}
	return found
}
