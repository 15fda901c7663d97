package main

import (
	"fmt"
	"runtime/debug"
)

const (
	// programMemory is what the process takes beside what Go accounts for: code and data
	// of the program, stacks of the kernel.
	programMemory = 12 << 20
	// leastHeadroom is the least that is left for requests that are being decoded, for
	// queries, and for garbage.
	leastHeadroom = 24 << 20
	// headroomShare is the part of the memory that is left for that, one in so many, if it
	// is more: the less it is, the more often the garbage collector runs.
	headroomShare = 5
	// leastMemory is the least that -memory may be, with 12 MiB for the store.
	leastMemory = programMemory + leastHeadroom + 12<<20
)

// givenLimit is what the variable GOMEMLIMIT says.
var givenLimit = debug.SetMemoryLimit(-1)

// divide returns the memory limit for the Go runtime with which the process takes memory,
// and the part of it that is for the store. If given, the value of GOMEMLIMIT, is less
// than that limit, it is the limit. The error says what is too little.
func divide(memory byteSize, given int64) (limit, store int64, err error) {
	least, leastLimit := byteSize(leastMemory), byteSize(leastMemory-programMemory)
	limit = min(int64(memory)-programMemory, given)
	switch {
	case memory < least:
		return 0, 0, fmt.Errorf("-memory %s is too little: want at least %s", &memory, &least)
	case limit < int64(leastLimit):
		return 0, 0, fmt.Errorf("GOMEMLIMIT is too little: want at least %s", &leastLimit)
	}
	return limit, limit - max(leastHeadroom, limit/headroomShare), nil
}
