package main

import (
	"fmt"
	"runtime/debug"
)

const (
	// programMemory is what the process takes in addition to the memory that Go's
	// limit covers: code and data of the program, and kernel memory.
	programMemory = 28 << 20
	// leastHeadroom is the least memory for requests that are being decoded, for
	// queries, and for garbage.
	leastHeadroom = 20 << 20
	// headroomShare determines that memory if it is more: the limit divided by
	// headroomShare. With less headroom the garbage collector runs more often.
	headroomShare = 5
	// leastMemory is the smallest value of -memory. It leaves 8 MiB to the store.
	leastMemory = programMemory + leastHeadroom + 8<<20
)

// givenLimit is the value of GOMEMLIMIT.
var givenLimit = debug.SetMemoryLimit(-1)

// divide returns the memory limit of the Go runtime for which the process takes the
// given memory, and the share of the store. If given, which is the value of
// GOMEMLIMIT, is lower than that limit, it is the limit. If either is too little,
// divide returns an error that says how much is needed.
func divide(memory byteSize, given int64) (limit, store int64, err error) {
	least, leastLimit := byteSize(leastMemory), byteSize(leastMemory-programMemory)
	limit = min(int64(memory)-programMemory, given)
	switch {
	case memory < least:
		return 0, 0, fmt.Errorf("-memory %s is too small: want at least %s", &memory, &least)
	case limit < int64(leastLimit):
		return 0, 0, fmt.Errorf("GOMEMLIMIT is too small: want at least %s", &leastLimit)
	}
	return limit, limit - max(leastHeadroom, limit/headroomShare), nil
}
