package operations

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"log/slog"
	"math/bits"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// maxWait is how long one side of a call waits for the other, which may come from another
// process.
const maxWait = 30 * time.Second

// calls are the newest calls of which a client or a server span has arrived. When there is no
// room or maxWait is over, a client span without a server span is counted as a call of a peer:
// of the service that answered there before, or else of an address.
type calls struct {
	byKey    map[uint64]int // indexes of ring
	ring     []call
	oldest   int
	waiting  int // from oldest on
	max      int
	texts    int             // bytes of the texts of waiting calls
	services map[edge]string // that answered calls of peers; "" if several did
	names    map[string]string
	buffer   []byte
}

// call is what is known about a call.
type call struct {
	key            uint64 // of the trace and the client span
	arrived        int64  // when the first side arrived, in nanoseconds
	client, server bool   // sides that have arrived
	failed         bool   // for one of them

	// Of the client span.
	caller   string // service
	peer     collector.Node
	minute   int64
	duration time.Duration
	weight   float64

	callee string // service of the server span
}

const (
	// callBytes is the size of a call with its place in the map and its texts, of which
	// there may be textBytes for each call on average.
	callBytes = 176 + textBytes
	textBytes = 64
	// maxNames bounds the maps of names, and namesBytes their size.
	maxNames   = 256
	namesBytes = 64 << 10
)

func (cs *calls) init(most int) {
	cs.max = max(most, 16)
	cs.services, cs.names = map[edge]string{}, map[string]string{}
}

// spanKey identifies a span.
type spanKey struct {
	trace dendro.TraceID
	span  dendro.SpanID
}

// Random numbers of the process that keep the hashes of keys unpredictable.
var traceMask, spanMask = maphash.String(seed, "trace"), maphash.String(seed, "span")

// hash multiplies into 128 bits and folds them, as wyhash does
// (https://github.com/wangyi-fudan/wyhash). Package maphash takes several times longer.
func (k *spanKey) hash() uint64 {
	high, low := bits.Mul64(binary.LittleEndian.Uint64(k.trace[:8])^traceMask, binary.LittleEndian.Uint64(k.trace[8:])^spanMask)
	high, low = bits.Mul64(high^low^traceMask, binary.LittleEndian.Uint64(k.span[:])^spanMask)
	return high ^ low
}

// call counts s if it is one side of a call. at is its minute. A weight of 0 is that of a span that its
// process has counted: the call counts nothing, and tells which service has answered.
func (sh *Shard) call(s *dendro.SpanData, at int64, weight float64) {
	failed := s.Status.Code == dendro.StatusError
	switch s.Kind {
	case dendro.KindProducer, dendro.KindConsumer:
		if topic := destination(s); topic.Name != "" {
			e := edge{service(sh.service), topic}
			if s.Kind == dendro.KindConsumer {
				e.client, e.server = e.server, e.client
			}
			sh.edge(e, at, s.Duration(), failed, weight)
		}
	case dendro.KindClient:
		peer := sh.peer(s)
		if peer.Kind == collector.NodeDatabase {
			sh.edge(edge{service(sh.service), peer}, at, s.Duration(), failed, weight)
			return
		}
		c := sh.meet(spanKey{s.TraceID, s.SpanID})
		if c.client {
			return // it has arrived before
		}
		c.client, c.failed = true, c.failed || failed
		c.caller, c.peer, c.minute, c.duration, c.weight = sh.service, peer, at, s.Duration(), weight
		sh.calls.texts += len(c.caller) + len(c.peer.Name)
		sh.pair(c)
	case dendro.KindServer:
		if !s.ParentID.IsValid() {
			return
		}
		c := sh.meet(spanKey{s.TraceID, s.ParentID})
		if c.server {
			return
		}
		c.server, c.failed = true, c.failed || failed
		c.callee = sh.service
		sh.calls.texts += len(c.callee)
		sh.pair(c)
	}
}

// meet returns the call with the given client span.
func (sh *Shard) meet(key spanKey) *call {
	cs := &sh.calls
	if cs.ring == nil {
		cs.ring = make([]call, cs.max)
		cs.byKey = make(map[uint64]int, cs.max)
		sh.table.others.Add(int64(cs.max)*callBytes + namesBytes)
	}
	hash := key.hash()
	if at, found := cs.byKey[hash]; found {
		return &cs.ring[at]
	}
	if sh.arrived == 0 {
		sh.arrived = sh.table.now().UnixNano()
	}
	now := sh.arrived
	for cs.waiting == cs.max || cs.waiting > 0 && cs.texts > cs.max*textBytes {
		sh.leaveOldest()
	}
	for n := 0; n < 2 && cs.due(now); n++ { // twice as many leave as come
		sh.leaveOldest()
	}
	at := (cs.oldest + cs.waiting) % cs.max
	cs.waiting++
	cs.byKey[hash] = at
	cs.ring[at] = call{key: hash, arrived: now}
	return &cs.ring[at]
}

// due reports whether the oldest call has waited for long enough.
func (cs *calls) due(now int64) bool {
	return cs.waiting > 0 && now-cs.ring[cs.oldest].arrived > int64(maxWait)
}

// expire forgets all calls that have waited for long enough.
func (sh *Shard) expire(now int64) {
	for sh.calls.due(now) {
		sh.leaveOldest()
	}
}

func (sh *Shard) leaveOldest() {
	cs := &sh.calls
	sh.leave(&cs.ring[cs.oldest])
	cs.ring[cs.oldest] = call{} // its texts are garbage
	cs.oldest = (cs.oldest + 1) % cs.max
	cs.waiting--
}

// pair counts c if both sides have arrived.
func (sh *Shard) pair(c *call) {
	if !c.client || !c.server {
		return
	}
	if c.peer.Name != "" {
		if len(sh.calls.services) >= maxNames {
			clear(sh.calls.services)
		}
		e := edge{service(c.caller), c.peer}
		if before, known := sh.calls.services[e]; !known {
			sh.calls.services[e] = c.callee
		} else if before != c.callee {
			sh.calls.services[e] = "" // a gateway
		}
	}
	sh.edge(edge{service(c.caller), service(c.callee)}, c.minute, c.duration, c.failed, c.weight)
}

// leave forgets c.
func (sh *Shard) leave(c *call) {
	delete(sh.calls.byKey, c.key)
	sh.calls.texts -= len(c.caller) + len(c.peer.Name) + len(c.callee)
	if !c.client || c.server || c.peer.Name == "" {
		return
	}
	e := edge{service(c.caller), c.peer}
	if callee := sh.calls.services[e]; callee != "" {
		e.server = service(callee)
	}
	sh.edge(e, c.minute, c.duration, c.failed, c.weight)
}

// edge adds a call to an edge, unless its weight is 0.
func (sh *Shard) edge(e edge, at int64, d time.Duration, failed bool, weight float64) {
	if weight == 0 {
		return
	}
	slot := &sh.recentEdges[(maphash.String(seed, e.server.Name)+uint64(len(e.client.Name)))%recentEdges]
	c := *slot
	if c == nil || c.minute != at || c.key != e {
		c = sh.edgeCell(e, at)
		*slot = c
	}
	c.Spans += weight
	if failed {
		c.Errors += weight
	}
	sh.add(&c.Counts, d, weight)
}

// edgeCell returns the cell of an edge in a minute.
func (sh *Shard) edgeCell(e edge, at int64) *cell[edge] {
	c, isOther := sh.edges.at(sh, &sh.table.edges, e, at, edge.own)
	if isOther {
		sh.table.other.Add(1)
	}
	return c
}

func service(name string) collector.Node {
	return collector.Node{Kind: collector.NodeService, Name: name}
}

// name returns s as a string. It is the same one for most calls.
func (cs *calls) name(s []byte) string {
	if name, found := cs.names[string(s)]; found {
		return name
	}
	if len(cs.names) >= maxNames {
		clear(cs.names)
	}
	name := string(s)
	cs.names[name] = name
	return name
}

// peer returns what a client span calls.
func (sh *Shard) peer(s *dendro.SpanData) collector.Node {
	var system, namespace, peer, address string
	var port int64
	for i := range s.Attributes {
		switch a := &s.Attributes[i]; a.Key {
		case semconv.DBSystemName:
			system = text(a)
		case semconv.OldDBSystem:
			system = cmp.Or(system, text(a))
		case semconv.DBNamespace:
			namespace = text(a)
		case semconv.OldDBName:
			namespace = cmp.Or(namespace, text(a))
		case semconv.PeerService:
			peer = text(a)
		case semconv.ServerAddress:
			address = text(a)
		case semconv.OldNetPeerName:
			address = cmp.Or(address, text(a))
		case semconv.ServerPort, semconv.OldNetPeerPort:
			if a.Value.Kind() == slog.KindInt64 {
				port = a.Value.Int64()
			}
		}
	}
	if system != "" {
		return collector.Node{Kind: collector.NodeDatabase, Name: cmp.Or(namespace, address), System: system}
	}
	b := append(sh.calls.buffer[:0], cmp.Or(peer, address)...)
	if peer == "" && address != "" && port > 0 {
		b = strconv.AppendInt(append(b, ':'), port, 10)
	}
	sh.calls.buffer = b
	return collector.Node{Kind: collector.NodePeer, Name: sh.calls.name(b)}
}

// destination returns where a span sends messages to or receives them from.
func destination(s *dendro.SpanData) collector.Node {
	n := collector.Node{Kind: collector.NodeMessaging}
	for i := range s.Attributes {
		switch a := &s.Attributes[i]; a.Key {
		case semconv.MessagingSystem:
			n.System = text(a)
		case semconv.MessagingDestinationName:
			n.Name = text(a)
		}
	}
	return n
}

// text returns a text of at most maxText bytes.
func text(a *slog.Attr) string {
	if a.Value.Kind() != slog.KindString {
		return ""
	}
	return shortened(a.Value.String())
}
