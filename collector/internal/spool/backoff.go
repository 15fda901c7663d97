package spool

import (
	"math/rand/v2"
	"time"
)

// The wait before another attempt doubles from the first of these to the second. Each
// wait is shortened by up to a half, at random.
const (
	minBackoff = 250 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Backoff returns the wait before another attempt to deliver something, after a number of others.
func Backoff(failures int) time.Duration {
	wait := min(minBackoff<<min(failures, 16), maxBackoff)
	return wait/2 + rand.N(wait/2)
}
