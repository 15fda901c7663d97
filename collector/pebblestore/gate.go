package pebblestore

import (
	"math"
	"sync/atomic"
)

// gate counts the calls that are inside, and lets none in after it was closed. A call may enter
// while another one of the same goroutine is inside.
type gate struct {
	inside atomic.Int64  // plus shut, if it was closed
	empty  chan struct{} // holds a token when the last call has left after it was closed
}

const shut = math.MinInt64 / 2

func newGate() gate { return gate{empty: make(chan struct{}, 1)} }

// enter reports whether a call may go on. If so, it must leave.
func (g *gate) enter() bool {
	if g.inside.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	if g.inside.Add(-1) == shut {
		poke(g.empty)
	}
}

// close waits for the calls that are inside. It is called once.
func (g *gate) close() {
	if g.inside.Add(shut) != shut {
		<-g.empty
	}
}
