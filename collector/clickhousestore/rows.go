package clickhousestore

import (
	"encoding/hex"
	"hash/maphash"
	"log/slog"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/column"

	"github.com/dendrotrace/dendro"
)

// row is a span as it is written.
type row struct {
	key                        spanKey
	time                       time.Time
	traceID, spanID, parentID  string
	state, name, kind, service string
	resource                   *mapRow
	scopeName, scopeVersion    string
	attributes                 *mapRow
	duration                   uint64
	status, message            string
	events                     events
	links                      links

	flags                            uint32
	types                            string
	resourceExact, scopeExact, exact string
}

type events struct {
	time       []time.Time
	name       []string
	attributes []*mapRow
}

type links struct {
	traceID, spanID, state []string
	attributes             []*mapRow
}

// writtenColumn is a column that is written.
type writtenColumn struct {
	name   string
	values func(rows []row) any // a slice
}

func columnOf[T any](name string, value func(r *row) T) writtenColumn {
	return writtenColumn{name, func(rows []row) any {
		out := make([]T, len(rows))
		for i := range rows {
			out[i] = value(&rows[i])
		}
		return out
	}}
}

// exporterColumns are those that OpenTelemetry's exporter writes, and ourColumns those of this package.
var (
	exporterColumns = []writtenColumn{
		columnOf("Timestamp", func(r *row) time.Time { return r.time }),
		columnOf("TraceId", func(r *row) string { return r.traceID }),
		columnOf("SpanId", func(r *row) string { return r.spanID }),
		columnOf("ParentSpanId", func(r *row) string { return r.parentID }),
		columnOf("TraceState", func(r *row) string { return r.state }),
		columnOf("SpanName", func(r *row) string { return r.name }),
		columnOf("SpanKind", func(r *row) string { return r.kind }),
		columnOf("ServiceName", func(r *row) string { return r.service }),
		columnOf("ResourceAttributes", func(r *row) *mapRow { return r.resource }),
		columnOf("ScopeName", func(r *row) string { return r.scopeName }),
		columnOf("ScopeVersion", func(r *row) string { return r.scopeVersion }),
		columnOf("SpanAttributes", func(r *row) *mapRow { return r.attributes }),
		columnOf("Duration", func(r *row) uint64 { return r.duration }),
		columnOf("StatusCode", func(r *row) string { return r.status }),
		columnOf("StatusMessage", func(r *row) string { return r.message }),
		columnOf("Events.Timestamp", func(r *row) []time.Time { return r.events.time }),
		columnOf("Events.Name", func(r *row) []string { return r.events.name }),
		columnOf("Events.Attributes", func(r *row) []*mapRow { return r.events.attributes }),
		columnOf("Links.TraceId", func(r *row) []string { return r.links.traceID }),
		columnOf("Links.SpanId", func(r *row) []string { return r.links.spanID }),
		columnOf("Links.TraceState", func(r *row) []string { return r.links.state }),
		columnOf("Links.Attributes", func(r *row) []*mapRow { return r.links.attributes }),
	}
	ourColumns = []writtenColumn{
		columnOf("DendroFlags", func(r *row) uint32 { return r.flags }),
		columnOf("DendroTypes", func(r *row) string { return r.types }),
		columnOf("DendroResource", func(r *row) string { return r.resourceExact }),
		columnOf("DendroScope", func(r *row) string { return r.scopeExact }),
		columnOf("DendroSpan", func(r *row) string { return r.exact }),
	}
)

// mapRow is a value of a map column. It implements [column.IterableOrderedMap], so that entries keep their order.
type mapRow struct{ mapColumn }

// Put implements [column.IterableOrderedMap].
func (m *mapRow) Put(key, value any) { m.put(key.(string), value.(string)) }

// Iterator implements [column.IterableOrderedMap].
func (m *mapRow) Iterator() column.MapIterator { return &mapIterator{m, -1} }

type mapIterator struct {
	*mapRow
	at int
}

func (i *mapIterator) Next() bool { i.at++; return i.at < len(i.keys) }
func (i *mapIterator) Key() any   { return i.keys[i.at] }
func (i *mapIterator) Value() any { return &i.values[i.at] } // a pointer needs no memory of its own

// bytes returns about the memory of m.
func (m *mapRow) bytes() int {
	n := 0
	for i, key := range m.keys {
		n += 2*16 + len(key) + len(m.values[i])
	}
	return n
}

// spanKey identifies a span: spans that have the same are duplicates.
type spanKey uint64

var keySeed = maphash.MakeSeed()

func keyOf(s *dendro.SpanData) spanKey {
	return spanKey(maphash.Comparable(keySeed, struct {
		trace dendro.TraceID
		span  dendro.SpanID
		start int64
	}{s.TraceID, s.SpanID, s.Start}))
}

// Flags of DendroFlags: the first ten bits are those of OTLP's Span.flags.
const (
	flagHasRemote = 1 << 8
	flagRemote    = 1 << 9
	flagOurs      = 1 << 31 // this package wrote the row
)

// Names of kinds and statuses, as OpenTelemetry's exporter writes them.
var (
	kindNames = [...]string{
		dendro.KindInternal: "Internal", dendro.KindServer: "Server", dendro.KindClient: "Client",
		dendro.KindProducer: "Producer", dendro.KindConsumer: "Consumer", dendro.KindUnspecified: "Unspecified",
	}
	statusNames = [...]string{dendro.StatusUnset: "Unset", dendro.StatusOK: "Ok", dendro.StatusError: "Error"}
)

// rowBytes is about the memory of a row without its texts.
const rowBytes = 700

// rowMaker makes rows of spans. It keeps what was made of the resource and scope that came last.
type rowMaker struct {
	plain   bool // without what OpenTelemetry's exporter does not write
	encoder encoder
	types   []byte

	resource      *dendro.Resource
	resourceRow   *mapRow
	resourceExact string
	scope         *dendro.Scope
	scopeExact    string
}

var noResource, noScope = &dendro.Resource{}, &dendro.Scope{}

// row returns a span as a row, and about the memory that it takes. It keeps nothing of the span but strings.
func (k *rowMaker) row(resource *dendro.Resource, s *dendro.SpanData, key spanKey) (r row, bytes int) {
	if resource == nil {
		resource = noResource
	}
	if resource != k.resource {
		m := &mapRow{}
		m.add(resource.Attributes, nil, !k.plain)
		k.resource, k.resourceRow, k.resourceExact = resource, m, k.encoder.resource(resource)
		bytes += m.bytes() + len(k.resourceExact)
	}
	scope := s.Scope
	if scope == nil {
		scope = noScope
	}
	if scope != k.scope {
		k.scope, k.scopeExact = scope, ""
		if len(scope.Attributes) > 0 || scope.DroppedAttributes > 0 || scope.SchemaURL != "" {
			k.scopeExact = k.encoder.scope(scope)
			bytes += len(k.scopeExact)
		}
	}
	const traceLen, spanLen = 2 * len(s.TraceID), 2 * len(s.SpanID)
	var ids [traceLen + 2*spanLen]byte
	hex.Encode(ids[:], s.TraceID[:])
	hex.Encode(ids[traceLen:], s.SpanID[:])
	hex.Encode(ids[traceLen+spanLen:], s.ParentID[:])
	text := string(ids[:])

	r = row{
		key: key, time: time.Unix(0, s.Start), traceID: text[:traceLen], spanID: text[traceLen : traceLen+spanLen],
		state: s.State.String(), name: s.Name, kind: kindNames[min(s.Kind, dendro.KindUnspecified)], service: resource.Service(),
		resource: k.resourceRow, scopeName: scope.Name, scopeVersion: scope.Version, attributes: &mapRow{}, duration: uint64(s.Duration()),
		status: statusNames[min(s.Status.Code, dendro.StatusError)], message: s.Status.Message,
		flags: uint32(s.Flags) | flagOurs, resourceExact: k.resourceExact, scopeExact: k.scopeExact,
	}
	if s.ParentID.IsValid() {
		r.parentID = text[traceLen+spanLen:]
	}
	if !s.RemoteUnknown {
		r.flags |= flagHasRemote
	}
	if s.Remote {
		r.flags |= flagRemote
	}
	exact := s.DroppedAttributes|s.DroppedEvents|s.DroppedLinks == 0 && s.Start <= s.End && s.End-s.Start >= 0
	k.types = k.types[:0]
	exact = k.attrs(r.attributes, s.Attributes) && exact
	exact = k.events(&r.events, s.Events) && exact
	exact = k.links(&r.links, s.Links) && exact
	r.types = string(k.types)
	if !exact {
		r.exact = k.encoder.encode(nil, s)
	}
	bytes += rowBytes + len(r.name) + len(r.message) + len(r.exact) + r.attributes.bytes()
	for i, m := range r.events.attributes {
		bytes += 64 + len(r.events.name[i]) + m.bytes()
	}
	for _, m := range r.links.attributes {
		bytes += 128 + m.bytes()
	}
	return r, bytes
}

// attrs adds attributes and their types. Like the methods below, it reports whether the columns say all about them.
func (k *rowMaker) attrs(to *mapRow, attrs []slog.Attr) (exact bool) {
	k.types, exact = to.add(attrs, k.types, !k.plain)
	return exact
}

func (k *rowMaker) events(to *events, list []dendro.Event) (exact bool) {
	exact = true
	for i := range list {
		e := &list[i]
		m := &mapRow{}
		k.types = append(k.types, typesEvent)
		exact = k.attrs(m, e.Attributes) && exact && e.DroppedAttributes == 0
		if e.Duration != 0 && !k.plain {
			m.put(eventDuration, strconv.FormatInt(int64(e.Duration), 10))
			k.types = append(k.types, typeDuration)
		}
		to.time, to.name, to.attributes = append(to.time, time.Unix(0, e.Time)), append(to.name, e.Name), append(to.attributes, m)
	}
	return exact
}

func (k *rowMaker) links(to *links, list []dendro.Link) (exact bool) {
	exact = true
	for i := range list {
		l := &list[i]
		m := &mapRow{}
		k.types = append(k.types, typesLink)
		exact = k.attrs(m, l.Attributes) && exact && l.DroppedAttributes == 0 && l.Flags == 0 && !l.RemoteKnown
		to.traceID, to.spanID = append(to.traceID, l.TraceID.String()), append(to.spanID, l.SpanID.String())
		to.state, to.attributes = append(to.state, l.State.String()), append(to.attributes, m)
	}
	return exact
}
