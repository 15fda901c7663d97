package operations

import (
	"cmp"

	"github.com/dendrotrace/dendro/collector"
)

// Merge adds the counts of a snapshot to t: those of another process, or those that [Table.TakeSnapshot] has
// removed from t. It treats them as [Shard.Count] does spans: what is ahead of the clock of this machine
// counts in the current minute, what is older than a day is late, and operations that there is no room for
// are counted as the other one. An edge to a peer becomes one to a service, if t knows that this
// service, and no other, has answered there. That the snapshot lacks what its table had dropped is not known
// afterwards.
//
// Merge returns an error that matches [collector.ErrSnapshot], and changes nothing, if the snapshot is damaged or has a later
// version of the format. It does not retain the snapshot.
func (t *Table) Merge(snapshot []byte) error {
	d, h, err := openSnapshot(snapshot)
	if err != nil {
		return err
	}
	checked := *d
	if err := checked.series(func(operation, bool, hour, float64) {}, func(edge, bool, hour, float64) {}); err != nil {
		return err
	}
	t.late.Add(h.late)
	sh := t.Shard(0)
	return d.series(func(o operation, isOther bool, h hour, _ float64) {
		merge(sh, sh.operations, &t.operations, o, isOther, h, operation.own)
	}, func(e edge, isOther bool, h hour, _ float64) {
		e.server = t.server(e)
		merge(sh, sh.edges, &t.edges, e, isOther, h, edge.own)
	})
}

// merge adds an hour of a series to cells.
func merge[K comparable](sh *Shard, cs cells[K], of *set[K], key K, isOther bool, h hour, own func(K) (K, int)) {
	points(h.data, func(m int, p *collector.Counts) { // of which there may be many
		sh.mu.Lock()
		defer sh.mu.Unlock()
		at := sh.minute((h.number*60 + int64(m)) * minute)
		if at < 0 {
			sh.table.late.Add(uint64(p.Spans))
			return
		}
		var c *cell[K]
		toOther := isOther
		if isOther {
			of.other.cells.Add(1)
			c = cs.of(sh, of.other, true, at)
		} else {
			c, toOther = cs.at(sh, of, key, at, own)
		}
		if toOther {
			sh.table.other.Add(uint64(p.Spans))
		}
		before := c.Durations.Bytes()
		c.Merge(p)
		sh.grow(c.Durations.Bytes() - before)
		sh.fit()
		sh.sealSome()
	})
}

// server returns whom an edge calls: instead of a peer the service that has answered there, if one has and no other.
func (t *Table) server(e edge) collector.Node {
	if e.server.Kind != collector.NodePeer {
		return e.server
	}
	callee := ""
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		answered, known := sh.calls.services[e]
		sh.mu.Unlock()
		if known && (answered == "" || callee != "" && answered != callee) {
			return e.server
		}
		callee = cmp.Or(callee, answered)
	}
	if callee == "" {
		return e.server
	}
	return service(callee)
}
