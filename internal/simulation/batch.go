package simulation

import (
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/dendrotrace/dendro"
)

// Ids of spans say which span it is, so that the store need not remember them, and look random.
const (
	multiplier = 0x9e3779b97f4a7c15
	inverse    = 0xf1de83e19937733d // multiplier * inverse = 1 modulo 2^64
)

func scramble(n uint64) uint64 {
	n *= multiplier
	n ^= n >> 32
	return n * multiplier
}

func unscramble(n uint64) uint64 {
	n *= inverse
	n ^= n >> 32
	return n * inverse
}

// spanID returns the id of span i of a local trace.
func spanID(number, local, i int) (id dendro.SpanID) {
	binary.BigEndian.PutUint64(id[:], scramble(uint64(number)<<32|uint64(local)<<16|uint64(i)<<8|1))
	return id
}

// spanOf is the inverse of spanID.
func spanOf(id dendro.SpanID) (number, local, i int) {
	n := unscramble(binary.BigEndian.Uint64(id[:]))
	return int(n >> 32), int(n >> 16 & 0xffff), int(n >> 8 & 0xff)
}

var scope = dendro.Scope{Name: "github.com/dendrotrace/dendro", Version: dendro.Version}

// batcher makes the spans of local traces. It reuses its memory.
type batcher struct {
	spans    []dendro.SpanData
	pointers []*dendro.SpanData
}

func newBatcher() *batcher {
	const most = 1 + 2 + maxCalls + 1
	b := &batcher{spans: make([]dendro.SpanData, most)}
	for i := range b.spans {
		b.pointers = append(b.pointers, &b.spans[i])
	}
	return b
}

// batch returns the spans of local trace number i of r, the root last, as a tracer does. They are valid until the next call.
// epoch is when the simulation began, by the clock of the process.
func (b *batcher) batch(r *request, i int, resource *dendro.Resource, epoch int64) *dendro.Batch {
	l := &r.locals[i]
	n := l.spans()
	next := 0
	flags := dendro.FlagRandom
	if l.sampled {
		flags |= dendro.FlagSampled
	}
	root := spanID(r.number, i, 0)
	add := func(id dendro.SpanID, kind dendro.Kind, name string, attrs []slog.Attr, start, end time.Duration, failed bool) *dendro.SpanData {
		s := &b.spans[next]
		next++
		s.SpanContext = dendro.SpanContext{TraceID: r.id, SpanID: id, Flags: flags, State: r.state}
		s.ParentID, s.Remote, s.Kind, s.Name, s.Scope, s.Attributes = root, false, kind, name, &scope, attrs
		s.Start, s.End, s.Status = epoch+int64(start), epoch+int64(end), dendro.Status{}
		if failed {
			s.Status.Code = dendro.StatusError
		}
		return s
	}
	variant := func(n int) int { return int(r.id[n&7]) % variants }
	took := l.end - l.start
	for q := range l.queries {
		at := l.start + took*time.Duration(q+1)/64
		add(spanID(r.number, i, 1+q), dendro.KindClient, l.operation.queryName, l.operation.query[variant(i+q)], at, at+took/64, false)
	}
	for c := range l.calls {
		called := &r.locals[l.first+c]
		o := called.operation
		attrs := o.call[variant(l.first+c)]
		if called.failed {
			attrs = o.failedCall[variant(l.first+c)]
		}
		add(callID(r, i, c), dendro.KindClient, o.callName, attrs, called.start-hop, called.end+hop, called.failed)
	}
	if l.sends > 0 {
		o := r.locals[l.sends].operation
		add(sendID(r, i), dendro.KindProducer, o.name, o.attributes[variant(i)][:3:3], l.end-took/64, l.end, false)
	}
	attrs := l.operation.attributes[variant(i)]
	if l.failed {
		attrs = l.operation.failedAttributes[variant(i)]
	}
	s := add(root, l.operation.kind, l.operation.name, attrs, l.start, l.end, l.failed)
	s.ParentID, s.Remote = r.caller(i), l.parent >= 0
	return &dendro.Batch{Resource: resource, Spans: b.pointers[:n], Fresh: true, Last: true}
}

// callID returns the id of the span of a call, and sendID that of a message.
func callID(r *request, i, c int) dendro.SpanID { return spanID(r.number, i, 1+r.locals[i].queries+c) }
func sendID(r *request, i int) dendro.SpanID    { return callID(r, i, r.locals[i].calls) }

// caller returns the id of the span below which local trace number i is, or zero for the first one.
func (r *request) caller(i int) dendro.SpanID {
	l := &r.locals[i]
	switch {
	case l.parent < 0:
		return dendro.SpanID{}
	case r.locals[l.parent].sends == i:
		return sendID(r, l.parent)
	}
	return callID(r, l.parent, l.ordinal)
}
