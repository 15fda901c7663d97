package operations

import (
	"slices"

	"github.com/dendrotrace/dendro/collector"
)

// sealing is a cell that is to be sealed.
type sealing struct {
	of     *history
	minute int64
	*collector.Counts
}

const (
	// sealPerCount is the number of cells that a call of Count or Merge seals, and a sealShare of
	// those that wait. Together with the spans of a trace that is little work.
	sealPerCount = 2
	sealShare    = 32
)

// sealSome seals a few cells.
func (sh *Shard) sealSome() { sh.seal(sealPerCount + len(sh.sealing)/sealShare) }

// seal seals n cells, unless a reader holds the lock.
func (sh *Shard) seal(n int) {
	t := sh.table
	if len(sh.sealing) == 0 || !t.sealed.TryLock() {
		return
	}
	defer t.sealed.Unlock()
	sh.sealLast(n)
}

// sealLast seals n cells. t.sealed is held.
func (sh *Shard) sealLast(n int) {
	t := sh.table
	for ; n > 0 && len(sh.sealing) > 0; n-- {
		last := len(sh.sealing) - 1
		s := sh.sealing[last]
		sh.sealing[last] = sealing{}
		sh.sealing = sh.sealing[:last]
		sh.grow(-cellBytes - s.Durations.Bytes())
		if s.minute > sh.start/minute { // from when the clock of this machine was ahead
			s.of.cells.Add(-1)
			continue
		}
		t.seal(s)
	}
	t.shrink()
}

// sealAll seals all cells, and those of calls that have waited for long enough. t.sealed is held.
func (sh *Shard) sealAll(now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.expire(now)
	sh.roll()
	sh.sealLast(len(sh.sealing))
}

// seal appends a cell to its series. t.sealed is held.
func (t *Table) seal(s sealing) {
	defer s.of.cells.Add(-1) // from then on the series may go
	number := s.minute / 60
	if t.ahead.CompareAndSwap(true, false) {
		now := t.now().Unix() / 3600
		t.newest, t.byMinute, t.complete = min(t.newest, now), min(t.byMinute, now), min(t.complete, now)
	}
	if number > t.newest {
		t.newest = number
		t.sweep()
	}
	t.point = appendPoint(t.point[:0], s.minute, s.Counts)
	at, found := s.of.hour(number)
	if t.add(s.of, number, t.point) && !found && at > 0 {
		t.rewrite(&s.of.hours[at-1])
	}
}

// add appends points to an hour of a series, and reports whether it did: not if the hour is too
// old. t.sealed is held.
func (t *Table) add(to *history, number int64, points []byte) bool {
	if number < max(t.complete, t.newest-keep/60) {
		return false
	}
	at, found := to.hour(number)
	if !found {
		to.hours = slices.Insert(to.hours, at, hour{number: number, limit: max(firstLimit, 2*len(points))})
		t.hours += hourBytes
	}
	h := &to.hours[at]
	t.hours -= int64(cap(h.data))
	h.data = append(h.data, points...)
	t.hours += int64(cap(h.data))
	if len(h.data) > h.limit {
		t.rewrite(h)
	}
	return true
}

// hour returns where an hour is, or else where it can be inserted.
func (h *history) hour(number int64) (at int, found bool) {
	return slices.BinarySearchFunc(h.hours, number, func(h hour, n int64) int { return int(h.number - n) })
}

// rewrite merges the points of h.
func (t *Table) rewrite(h *hour) {
	t.hours -= int64(cap(h.data))
	if h.number < t.byMinute {
		h.merge(fiveMinutes)
	} else {
		h.merge(1)
	}
	t.hours += int64(cap(h.data))
}

// sweep drops what is older than a day, and the series that have nothing else.
func (t *Table) sweep() {
	for _, h := range t.histories() {
		t.dropUntil(h, t.newest-keep/60)
	}
	t.names.Lock()
	defer t.names.Unlock()
	t.operations.sweep(t)
	t.edges.sweep(t)
}

func (s *set[K]) sweep(t *Table) {
	for key, of := range s.series {
		if len(of.hours) == 0 && of.cells.Load() == 0 {
			delete(s.series, key)
			t.others.Add(-of.bytes)
		}
	}
}

// dropUntil drops the hours of a series before an hour.
func (t *Table) dropUntil(h *history, until int64) {
	n, _ := h.hour(until)
	for _, gone := range h.hours[:n] {
		t.hours -= hourBytes + int64(cap(gone.data))
	}
	h.hours = slices.Delete(h.hours, 0, n)
}

// histories returns those of all series.
func (t *Table) histories() []*history {
	t.names.Lock()
	defer t.names.Unlock()
	return t.edges.histories(t.operations.histories(nil))
}

func (s *set[K]) histories(out []*history) []*history {
	for _, of := range s.series {
		out = append(out, &of.history)
	}
	return append(out, &s.other.history)
}

// shrinkPerSeal is the number of series that lose an hour at once.
const shrinkPerSeal = 4

// room returns how many bytes hours may have.
func (t *Table) room() int64 { return max(t.maxBytes/2, t.maxBytes-t.others.Load()) }

// shrink keeps hours within their bound. If it is nearly reached, shrink merges the oldest hour
// that is kept by the minute, or drops the oldest hour if only the last two are left. It does so
// for a few series at a time, unless there is no room left. t.sealed is held.
func (t *Table) shrink() {
	room := t.room()
	if len(t.shrinking) == 0 && t.hours <= room-room/16 {
		return
	}
	for n := 0; n < shrinkPerSeal || t.hours > room; n++ {
		if len(t.shrinking) == 0 && !t.shrinkMore() {
			return
		}
		h := t.shrinking[len(t.shrinking)-1]
		t.shrinking = t.shrinking[:len(t.shrinking)-1]
		t.dropUntil(h, t.complete)
		if at, found := h.hour(t.byMinute - 1); found {
			t.rewrite(&h.hours[at])
		}
	}
}

// shrinkMore decides which hour is next, and reports whether there is one. Of the current hour
// there can be no more than cells and points of it, which are merged as they come.
func (t *Table) shrinkMore() bool {
	t.shrinking = t.histories()
	oldest := t.newest + 1
	for _, h := range t.shrinking {
		if len(h.hours) > 0 {
			oldest = min(oldest, h.hours[0].number)
		}
	}
	merge := max(t.byMinute, oldest)
	switch {
	case merge < t.newest-1:
		t.byMinute = merge + 1
	case oldest < t.newest:
		t.complete = oldest + 1
	default: // the current hour stays
		t.shrinking = nil
		return false
	}
	return true
}
