// Package operations counts spans by operation and by edge of the service graph, for stores
// that implement [collector.OperationReader].
//
// Counts go three ways. A span adds to a cell: the counts of one operation or edge in one
// minute, in a [Shard]. When the minute is over, its cells are sealed: encoded and appended to
// the hours of their series, a few at a time. A reader merges both. A snapshot of a table outlives the
// process, or goes to the table of another one.
package operations

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Options configures a [Table]. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the memory of the table, in bytes. If it is zero, the bound is 16 MiB,
	// which holds a day of 200 busy operations. Less than 256 KiB means 256 KiB. At least
	// half of it is for hours that are over. When that is in use, the oldest of them are
	// merged to points of five minutes, and then dropped.
	MaxBytes int64
	// Shards is the number of shards. If it is zero, there is one.
	Shards int
	// EachOnce makes a span count once even if its sender has sampled it. It is for tables that also get the spans that
	// were not sampled.
	EachOnce bool
	// Now returns the time. If it is nil, that is [time.Now]. A table of spans from long ago,
	// such as those of a file, has a time that is near to theirs. It must be safe for
	// concurrent use.
	Now func() time.Time
}

const (
	defaultMaxBytes = 16 << 20
	minMaxBytes     = 256 << 10
	// bytesPerSeries determines how many operations, and how many edges, are kept apart.
	bytesPerSeries = 16 << 10
	// waitingShare determines what part of the memory holds spans that wait for the other
	// side of a call, and cellShare what part holds minutes that are not sealed.
	waitingShare = 8
	cellShare    = 8
	// maxWeight bounds for how many spans one counts, because the sender says so.
	maxWeight = 1 << 20
)

// keep is how long counts are kept, in minutes.
const keep = 24 * 60

// Table holds the counts of operations and edges. Its methods are safe for concurrent use.
type Table struct {
	maxBytes  int64
	maxSeries int
	eachOnce  bool
	now       func() time.Time
	shards    []Shard

	names      sync.Mutex // guards the sets of series
	operations set[operation]
	edges      set[edge]

	// sealed guards the hours of all series and the fields below. It is locked before the
	// lock of a shard, and only tried by who holds that.
	sealed    sync.Mutex
	hours     int64 // bytes of all hours
	newest    int64 // the newest hour
	byMinute  int64 // the first hour that is not merged to points of five minutes
	complete  int64 // the first hour that is not dropped to make room
	shrinking []*history
	point     []byte // that is being sealed

	others      atomic.Int64 // bytes of everything but hours
	ahead       atomic.Bool  // the clock of this machine was ahead
	other, late atomic.Uint64
}

// operation identifies what is counted by the service itself, and edge what is by pairs.
type (
	operation struct {
		service, name string
		kind          dendro.Kind
	}
	edge struct{ client, server collector.Node }
)

// own returns a copy of o that may be kept, and how many bytes its texts have. The service is a
// copy already.
func (o operation) own() (operation, int) {
	o.name = strings.Clone(o.name)
	return o, len(o.service) + len(o.name)
}

// own is that of an operation, for an edge.
func (e edge) own() (edge, int) {
	size := 0
	for _, text := range []*string{&e.client.Name, &e.client.System, &e.server.Name, &e.server.System} {
		*text = strings.Clone(*text)
		size += len(*text)
	}
	return e, size
}

// New returns an empty table.
func New(o Options) *Table {
	t := &Table{maxBytes: max(o.MaxBytes, minMaxBytes), eachOnce: o.EachOnce, now: o.Now, shards: make([]Shard, max(o.Shards, 1))}
	if o.MaxBytes == 0 {
		t.maxBytes = defaultMaxBytes
	}
	if t.now == nil {
		t.now = time.Now
	}
	t.maxSeries = int(t.maxBytes / bytesPerSeries)
	t.operations.init()
	t.edges.init()
	for i := range t.shards {
		t.shards[i].init(t, int(t.maxBytes)/cellShare/len(t.shards), int(t.maxBytes)/waitingShare/callBytes/len(t.shards))
	}
	return t
}

// Shard returns shard i. All spans of a trace must be counted in the same shard.
func (t *Table) Shard(i int) *Shard { return &t.shards[i] }

// set is the series of operations or of edges.
type set[K comparable] struct {
	series map[K]*series[K]
	other  *series[K]
}

func (s *set[K]) init() {
	s.series = map[K]*series[K]{}
	s.other = new(series[K])
}

// series is the counts of one operation or edge.
type series[K comparable] struct {
	key   K
	bytes int64
	history
}

const (
	// seriesBytes is the size of a series with its place in a map, without texts.
	seriesBytes = 320
	// maxText bounds the length of a name. Longer ones are cut.
	maxText = 256
)

// cut returns a copy of s with at most maxText bytes.
func cut(s string) string {
	return strings.Clone(shortened(s))
}

// shortened returns at most maxText bytes of s, and no part of a character.
func shortened(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// history is what all series have.
type history struct {
	cells atomic.Int32 // that are not sealed
	hours []hour       // by number
}

// of returns the series of a key, or the other one if there are too many. own makes a copy of
// the key and returns how many bytes its texts have.
func (s *set[K]) of(t *Table, key K, own func(K) (K, int)) *series[K] {
	t.names.Lock()
	defer t.names.Unlock()
	found := s.series[key]
	if found == nil && len(s.series) < t.maxSeries {
		key, size := own(key)
		found = &series[K]{key: key, bytes: seriesBytes + int64(size)}
		t.others.Add(found.bytes)
		s.series[found.key] = found
	}
	if found == nil {
		found = s.other
	}
	found.cells.Add(1)
	return found
}

// Stats returns what t holds.
func (t *Table) Stats() (s collector.OperationStats) {
	s.MaxBytes = t.maxBytes
	s.OtherSpans, s.Late = t.other.Load(), t.late.Load()
	t.names.Lock()
	s.Operations, s.Edges = len(t.operations.series), len(t.edges.series)
	t.names.Unlock()
	t.sealed.Lock()
	defer t.sealed.Unlock()
	s.Bytes = t.hours + t.others.Load()
	if t.complete > 0 {
		s.Complete = time.Unix(t.complete*3600, 0)
	}
	if t.byMinute > 0 {
		s.ByMinute = time.Unix(max(t.byMinute, t.complete)*3600, 0)
	}
	return s
}
