package simulation

import (
	"slices"
	"time"
)

// tick is the resolution of the schedule. Local traces begin and end at ticks; the times in their spans are exact.
const tick = time.Millisecond

// event is the beginning or the end of a local trace.
type event struct {
	request *request
	local   int
	end     bool
}

// schedule has the events of the future, by tick.
type schedule struct {
	at    int64     // the next tick
	ticks [][]event // those from at on, as a ring
	free  [][]event // memory for reuse
	size  int
}

// horizon is the number of ticks of the schedule. It is longer than a request with its late consumer.
const horizon = 1 << 20

func newSchedule() *schedule { return &schedule{ticks: make([][]event, horizon)} }

// add adds an event at a time that is not over.
func (s *schedule) add(at time.Duration, e event) {
	n := max(int64((at+tick-1)/tick), s.at)
	if n >= s.at+horizon {
		panic("simulation: an event is too far in the future")
	}
	slot := &s.ticks[n%horizon]
	if *slot == nil && len(s.free) > 0 {
		last := len(s.free) - 1
		*slot, s.free = s.free[last], s.free[:last]
	}
	*slot = append(*slot, e)
	s.size++
}

// take returns the events of the next tick. They are valid until release.
func (s *schedule) take() []event {
	slot := &s.ticks[s.at%horizon]
	events := *slot
	*slot = nil
	s.at++
	s.size -= len(events)
	return events
}

func (s *schedule) release(events []event) {
	if events != nil {
		clear(events)
		s.free = append(s.free, slices.Grow(events[:0], 1))
	}
}
