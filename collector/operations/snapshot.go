package operations

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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

var errDamaged = errors.New("operations: the snapshot is damaged")

// AppendSnapshot appends all that t has counted to b, and returns the extended buffer. [Restore]
// reads it. Calls that wait for their other side are not counted yet and are left out, and so is which
// services have answered at which addresses.
//
// AppendSnapshot seals all cells and copies the hours, which takes about a millisecond for 10 MiB if
// b has room, and several times as long if it has to grow. [Shard.Count] may have to wait for it.
func (t *Table) AppendSnapshot(b []byte) []byte {
	t.sealed.Lock()
	defer t.sealed.Unlock()
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
	if len(snapshot) == 0 || snapshot[0] == 0 {
		return nil, errDamaged
	}
	if v := snapshot[0]; v > snapshotVersion {
		return nil, fmt.Errorf("operations: the snapshot has format %d and this program reads formats up to %d: use a newer dendro", v, snapshotVersion)
	}
	t, d := New(o), &decoder{data: snapshot[1:]}
	t.sealed.Lock()
	defer t.sealed.Unlock()
	t.newest = t.now().Unix() / 3600
	t.late.Store(d.number())
	t.other.Store(d.number())
	t.byMinute, t.complete = min(int64(d.number()), t.newest), min(int64(d.number()), t.newest)
	restoreSet(t, d, &t.operations, (*decoder).operation, operation.own)
	restoreSet(t, d, &t.edges, (*decoder).edge, edge.own)
	if d.failed || len(d.data) > 0 {
		return nil, errDamaged
	}
	t.shrink()
	return t, nil
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

// restoreSet adds the series of a set to t.
func restoreSet[K comparable](t *Table, d *decoder, s *set[K], key func(*decoder) K, own func(K) (K, int)) {
	t.restoreHours(d, &s.other.history)
	for n := d.number(); n > 0; n-- {
		k := key(d)
		if d.failed {
			return
		}
		of := s.of(t, k, own)
		spans := t.restoreHours(d, &of.history)
		of.cells.Add(-1)
		if of == s.other {
			t.other.Add(uint64(spans))
		}
	}
	t.names.Lock()
	defer t.names.Unlock()
	s.sweep(t) // what is too old
}

// restoreHours adds the hours of a series to t, and returns how many spans they have.
func (t *Table) restoreHours(d *decoder, to *history) (spans float64) {
	for n := d.number(); n > 0; n-- {
		number, data := int64(d.number()), d.text(len(d.data))
		n, ok := check(data)
		if d.failed || !ok {
			d.fail()
			return 0
		}
		if number <= t.newest && t.add(to, number, data) {
			spans += n
		}
	}
	return spans
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
	return operation{string(d.text(maxKeyText)), string(d.text(maxKeyText)), dendro.Kind(d.byte())}
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
