package operations

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// snapshotVersion counts changes of the format that an older program would misread.
//
//	snapshot  = version (1), late spans, other spans, byMinute, complete, operations, edges
//	set       = hours of the other series, number of series, n * (operation or edge, hours)
//	operation = service, name, kind (1)
//	edge      = client, server
//	node      = kind, name, system
//	hours     = number of hours, n * (number since the Unix epoch, points)
//
// Operations and edges are sets. Numbers are varints. Texts and points follow their length.
const snapshotVersion = 1

// maxKeyText bounds the texts of a series. The name of a peer may be one of maxText with a port.
const maxKeyText = maxText + len(":9223372036854775807")

// maxHour is the last hour whose minutes have a time in nanoseconds.
const maxHour = math.MaxInt64/uint64(time.Hour) - 1

var errDamaged = fmt.Errorf("operations: %w: it is damaged", collector.ErrSnapshot)

// AppendSnapshot appends all that t has counted to b, and returns the extended buffer. [Restore] and
// [Table.Merge] read it. Calls that wait for their other side are not counted yet and are left out, and so is
// which services have answered at which addresses.
//
// AppendSnapshot seals all cells and copies the hours, which takes about a millisecond for 10 MiB if
// b has room, and several times as long if it has to grow. [Shard.Count] may have to wait for it.
func (t *Table) AppendSnapshot(b []byte) []byte {
	t.sealed.Lock()
	defer t.sealed.Unlock()
	return t.appendSnapshot(b)
}

// TakeSnapshot is [Table.AppendSnapshot] for a process that sends what it counts: it removes what it appends
// from t, so that each snapshot has what was counted since the one before. Calls that wait are in a
// later one. The names of operations and edges are kept until the next snapshot.
func (t *Table) TakeSnapshot(b []byte) []byte {
	t.sealed.Lock()
	defer t.sealed.Unlock()
	t.sweep()
	b = t.appendSnapshot(b)
	t.late.Store(0)
	t.other.Store(0)
	t.byMinute, t.complete, t.shrinking = 0, 0, nil
	for _, h := range t.histories() {
		t.dropUntil(h, math.MaxInt64)
	}
	return b
}

// appendSnapshot is AppendSnapshot. t.sealed is held.
func (t *Table) appendSnapshot(b []byte) []byte {
	now := t.now().UnixNano()
	for i := range t.shards {
		t.shards[i].sealAll(now)
	}
	t.names.Lock()
	defer t.names.Unlock()
	b = append(slices.Grow(b, int(t.hours)), snapshotVersion)
	for _, n := range []uint64{t.late.Load(), t.other.Load(), uint64(t.byMinute), uint64(t.complete)} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendSet(b, &t.operations, operation.append)
	return appendSet(b, &t.edges, edge.append)
}

// Restore returns a new table with the counts of a snapshot. What is older than a day, or in an
// hour that has not begun, is left out. If MaxBytes is less than it was, counts are merged and
// dropped as usual. Restore returns an error if the snapshot is damaged or has a later version of
// the format. It does not retain the snapshot.
func Restore(o Options, snapshot []byte) (*Table, error) {
	d, h, err := openSnapshot(snapshot)
	if err != nil {
		return nil, err
	}
	t := New(o)
	t.sealed.Lock()
	defer t.sealed.Unlock()
	t.newest = t.now().Unix() / 3600
	t.late.Store(h.late)
	t.other.Store(h.other)
	t.byMinute, t.complete = min(int64(h.byMinute), t.newest), min(int64(h.complete), t.newest)
	if err := d.series(restore(t, &t.operations, operation.own), restore(t, &t.edges, edge.own)); err != nil {
		return nil, err
	}
	t.names.Lock()
	t.operations.sweep(t) // what is too old
	t.edges.sweep(t)
	t.names.Unlock()
	t.shrink()
	return t, nil
}

// restore returns a visitor that adds hours to a set of t.
func restore[K comparable](t *Table, s *set[K], own func(K) (K, int)) visitor[K] {
	return func(key K, isOther bool, h hour, spans float64) {
		of := s.other
		if !isOther {
			of = s.of(t, key, own)
			of.cells.Add(-1)
		}
		if h.number <= t.newest && t.add(&of.history, h.number, h.data) && of == s.other && !isOther {
			t.other.Add(uint64(spans))
		}
	}
}

func (o operation) append(b []byte) []byte {
	return append(appendText(appendText(b, o.service), o.name), byte(o.kind))
}

func (e edge) append(b []byte) []byte {
	for _, n := range []*collector.Node{&e.client, &e.server} {
		b = appendText(appendText(appendText(b, string(n.Kind)), n.Name), n.System)
	}
	return b
}

func appendSet[K comparable](b []byte, s *set[K], appendKey func(K, []byte) []byte) []byte {
	b = binary.AppendUvarint(s.other.append(b), uint64(len(s.series)))
	for key, of := range s.series {
		b = of.append(appendKey(key, b))
	}
	return b
}

func (h *history) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h.hours)))
	for i := range h.hours {
		b = appendText(binary.AppendUvarint(b, uint64(h.hours[i].number)), h.hours[i].data)
	}
	return b
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// header is what a snapshot has before its series.
type header struct{ late, other, byMinute, complete uint64 }

// openSnapshot returns the header of a snapshot, and a decoder for what follows.
func openSnapshot(snapshot []byte) (*decoder, header, error) {
	if len(snapshot) == 0 || snapshot[0] == 0 {
		return nil, header{}, errDamaged
	}
	if v := snapshot[0]; v > snapshotVersion {
		return nil, header{}, fmt.Errorf("operations: %w: it has format %d and this program reads formats up to %d: use a newer dendro", collector.ErrSnapshot, v, snapshotVersion)
	}
	d := &decoder{data: snapshot[1:]}
	return d, header{d.number(), d.number(), d.number(), d.number()}, nil
}

// visitor is called for an hour of a series, and for how many spans it has. The hour refers to the snapshot.
type visitor[K comparable] func(key K, isOther bool, h hour, spans float64)

// series calls visitors for the hours of all series. It returns an error if the snapshot is damaged, which
// it may find out after some.
func (d *decoder) series(operations visitor[operation], edges visitor[edge]) error {
	visitSet(d, (*decoder).operation, operations)
	visitSet(d, (*decoder).edge, edges)
	if d.failed || len(d.data) > 0 {
		return errDamaged
	}
	return nil
}

func visitSet[K comparable](d *decoder, key func(*decoder) K, visit visitor[K]) {
	var k K
	visitHours(d, k, true, visit)
	for n := d.number(); n > 0; n-- {
		k = key(d)
		if d.failed {
			return
		}
		visitHours(d, k, false, visit)
	}
}

func visitHours[K comparable](d *decoder, key K, isOther bool, visit visitor[K]) {
	for n := d.number(); n > 0; n-- {
		number, data := min(d.number(), maxHour), d.text(len(d.data))
		spans, ok := check(data)
		if d.failed || !ok {
			d.fail()
			return
		}
		visit(key, isOther, hour{number: int64(number), data: data}, spans)
	}
}

// decoder reads data from its beginning. When it has failed, there is none left, and all numbers
// are 0.
type decoder struct {
	data   []byte
	failed bool
}

func (d *decoder) fail() { d.data, d.failed = nil, true }

func (d *decoder) byte() byte {
	if len(d.data) == 0 {
		d.fail()
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return b
}

func (d *decoder) number() uint64 {
	n, size := binary.Uvarint(d.data)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[size:]
	return n
}

// text returns a text of at most longest bytes, a part of the data.
func (d *decoder) text(longest int) []byte {
	n := d.number()
	if n > uint64(min(longest, len(d.data))) {
		d.fail()
		return nil
	}
	text := d.data[:n]
	d.data = d.data[n:]
	return text
}

func (d *decoder) operation() operation {
	return operation{string(d.text(maxKeyText)), string(d.text(maxKeyText)), min(dendro.Kind(d.byte()), dendro.KindUnspecified)}
}

func (d *decoder) edge() edge { return edge{d.node(), d.node()} }

func (d *decoder) node() collector.Node {
	n := collector.Node{Kind: collector.NodeKind(d.text(maxKeyText)), Name: string(d.text(maxKeyText)), System: string(d.text(maxKeyText))}
	switch n.Kind {
	case collector.NodeService, collector.NodeDatabase, collector.NodeMessaging, collector.NodePeer:
	default:
		d.fail()
	}
	return n
}
