package operations

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

const minute = int64(time.Minute)

// Shard counts the spans of a share of the traces.
type Shard struct {
	table *Table

	mu sync.Mutex // guards the fields below
	// start is the start of the newest minute in nanoseconds.
	start      int64
	operations cells[operation]
	edges      cells[edge]
	// Of the cells, those that were used last, by hash.
	recentOperations [recentOperations]*cell[operation]
	recentEdges      [recentEdges]*cell[edge]
	sealing          []sealing // cells of minutes that are over
	bytes            int       // of all cells
	rolled           bool      // since Count found its cell
	arrived          int64     // when the spans of Count arrived, or 0 if that is not known yet
	maxBytes         int
	calls            calls

	service string // of the last batch
	hash    uint64 // of service
}

// Powers of two.
const (
	recentOperations = 256
	recentEdges      = 64
)

// cell is the counts of a series in a minute.
type cell[K comparable] struct {
	*series[K]
	minute int64
	collector.Counts
}

const cellBytes = 160 // with its place in a map

// cells are those that spans are added to.
type cells[K comparable] map[minuteOf[K]]*cell[K]

type minuteOf[K comparable] struct {
	key    K
	other  bool
	minute int64
}

func (sh *Shard) init(t *Table, maxBytes, maxWaiting int) {
	sh.table, sh.maxBytes = t, maxBytes
	sh.operations, sh.edges = cells[operation]{}, cells[edge]{}
	sh.calls.init(maxWaiting)
}

var seed = maphash.MakeSeed()

// Count counts spans of one trace that have arrived for the first time. It does not retain
// them. If the resource has the attribute dendro.counted, their process has counted them, and Count
// only learns which service answers at which address.
func (sh *Shard) Count(r *dendro.Resource, spans []*dendro.SpanData) {
	if len(spans) == 0 {
		return
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.arrived = 0
	service, counted := origin(r)
	if service != sh.service {
		sh.service = cut(service)
		sh.hash = maphash.String(seed, sh.service)
	}
	if counted {
		for _, s := range spans {
			if s.Kind == dendro.KindClient || s.Kind == dendro.KindServer {
				sh.call(s, 0, 0)
			}
		}
		return
	}
	other := sh.table.operations.other
	var c *cell[operation]
	var state dendro.TraceState
	weight := 1.0 // that of a span with state
	for _, s := range spans {
		at := sh.minute(s.End)
		if at < 0 {
			sh.table.late.Add(1)
			continue
		}
		if c == nil || sh.rolled || c.minute != at || c.key.name != s.Name || c.key.kind != s.Kind || c.series == other {
			c = sh.operation(s, at)
			sh.rolled = false
		}
		if s.State != state && !sh.table.eachOnce {
			state, weight = s.State, min(s.State.AdjustedCount(), maxWeight)
		}
		c.Spans += weight
		if s.Status.Code == dendro.StatusError {
			c.Errors += weight
		}
		sh.add(&c.Counts, s.Duration(), weight)
		if s.Kind != dendro.KindInternal {
			sh.call(s, at, weight)
		}
		sh.fit()
	}
	sh.sealSome()
}

// origin returns the service of a resource, and whether its process counts spans itself.
func origin(r *dendro.Resource) (service string, counted bool) {
	if r == nil {
		return "", false
	}
	for i := range r.Attributes {
		switch a := &r.Attributes[i]; a.Key {
		case semconv.ServiceName:
			service = a.Value.String()
		case semconv.Counted:
			counted = a.Value.Kind() == slog.KindBool && a.Value.Bool()
		}
	}
	return service, counted
}

// minute returns the minute in which a span that ended at end is counted: the current one if
// that is in the future, or -1 if it is too long ago.
func (sh *Shard) minute(end int64) int64 {
	current := sh.start / minute
	if uint64(end-sh.start) < uint64(minute) {
		return current
	}
	if end > sh.start {
		if now := sh.table.now().UnixNano() / minute; now > current {
			current = now
			sh.begin(now)
		}
	}
	at := end / minute
	if at < current-keep { // or the clock of this machine was ahead
		if now := sh.table.now().UnixNano() / minute; now < current {
			current = now
			sh.begin(now)
		}
	}
	switch {
	case at >= current:
		return current
	case at < current-keep:
		return -1
	default:
		return at
	}
}

// begin makes a minute the newest.
func (sh *Shard) begin(now int64) {
	if now*minute < sh.start {
		sh.table.ahead.Store(true)
	}
	sh.start = now * minute
	sh.expire(now * minute)
	sh.roll()
}

// fit seals all cells if they take too much memory: those of many minutes, or with durations
// of all lengths.
func (sh *Shard) fit() {
	if sh.bytes > sh.maxBytes {
		sh.roll()
		sh.seal(len(sh.sealing))
	}
}

// roll moves all cells to those that are to be sealed. No cell that was found before may be used
// after that.
func (sh *Shard) roll() {
	sh.rolled = true
	for _, c := range sh.operations {
		sh.sealing = append(sh.sealing, sealing{&c.history, c.minute, &c.Counts})
	}
	for _, c := range sh.edges {
		sh.sealing = append(sh.sealing, sealing{&c.history, c.minute, &c.Counts})
	}
	clear(sh.operations)
	clear(sh.edges)
	clear(sh.recentOperations[:])
	clear(sh.recentEdges[:])
}

// operation returns the cell of the operation of s in a minute.
func (sh *Shard) operation(s *dendro.SpanData, at int64) *cell[operation] {
	slot := &sh.recentOperations[(maphash.String(seed, s.Name)^sh.hash+uint64(s.Kind))%recentOperations]
	if c := *slot; c != nil && c.minute == at && c.key.name == s.Name && c.key.kind == s.Kind && c.key.service == sh.service {
		return c
	}
	key := operation{sh.service, shortened(s.Name), s.Kind}
	c, isOther := sh.operations.at(sh, &sh.table.operations, key, at, operation.own)
	if isOther {
		sh.table.other.Add(1)
	} else {
		*slot = c
	}
	return c
}

// at returns the cell of a key in a minute, and whether it is that of the other series.
func (cs cells[K]) at(sh *Shard, of *set[K], key K, at int64, own func(K) (K, int)) (c *cell[K], isOther bool) {
	if c = cs[minuteOf[K]{key, false, at}]; c != nil {
		return c, false
	}
	sh.fit()
	s := of.of(sh.table, key, own)
	isOther = s == of.other
	return cs.of(sh, s, isOther, at), isOther
}

// of returns the cell of a series in a minute. The series counts it already.
func (cs cells[K]) of(sh *Shard, s *series[K], isOther bool, at int64) *cell[K] {
	key := minuteOf[K]{s.key, isOther, at}
	if c := cs[key]; c != nil {
		s.cells.Add(-1)
		return c
	}
	c := &cell[K]{series: s, minute: at}
	sh.grow(cellBytes)
	cs[key] = c
	return c
}

// add adds a duration to c.
func (sh *Shard) add(c *collector.Counts, d time.Duration, weight float64) {
	before := c.Durations.Bytes()
	c.Durations.Add(d, weight)
	if grown := c.Durations.Bytes() - before; grown != 0 {
		sh.grow(grown)
	}
}

// grow counts memory that cells take.
func (sh *Shard) grow(bytes int) {
	sh.bytes += bytes
	sh.table.others.Add(int64(bytes))
}
