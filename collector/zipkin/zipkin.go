// Package zipkin decodes spans in Zipkin's v2 JSON format (https://zipkin.io/zipkin-api/).
//
// Fields become those of OpenTelemetry as its transformation says, in reverse
// (https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/):
//
//   - localEndpoint is the service.name of the resource, and network.local.address and
//     network.local.port of the span.
//   - remoteEndpoint is peer.service, network.peer.address and network.peer.port, unless a
//     tag has that name.
//   - Annotations are events. One like "name": {"key": "value"} has attributes.
//   - Tags are attributes with strings, except for those in which exporters put other fields
//     of OpenTelemetry, such as otel.status_code and otel.scope.name.
//   - A tag error means that the span has failed, and has the message. Its value "false", which
//     Zipkin does not define, means that it has not.
//   - A span without a kind is internal.
//
// Client and server may share the id of a span, as the B3 headers allow. Spans of OpenTelemetry
// have an id of their own, so the server's gets one that depends only on the trace, the id and
// the service. Its parent is the client's span. Children of the shared id that
// the same service sends together with it are below the server's span.
//
// A span without a time begins at its first annotation, or else when its trace does.
package zipkin

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/spanjson"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Decode decodes a list of spans, as POST /api/v2/spans takes it and the page of a trace
// downloads it, or a list of such lists, as GET /api/v2/traces returns it. It returns one batch
// for each service. The Resource of a batch and the Scope of a span are never nil. The result does
// not refer to data, and is bounded by its size.
//
// Decode returns an error that names the span and the field, for example
//
//	[3].traceId: want up to 32 hexadecimal digits, not all zero, got "x"
func Decode(data []byte) ([]*dendro.Batch, error) {
	d := decoder{clients: map[shared]bool{}, servers: map[shared]bool{}, earliest: map[dendro.TraceID]int64{}}
	err := spanjson.Elements(data, func(i int, element []byte) error {
		place := fmt.Sprintf("[%d]", i)
		if element[0] != '[' {
			return d.span(place, element)
		}
		return spanjson.Elements(element, func(i int, element []byte) error {
			return d.span(fmt.Sprintf("%s[%d]", place, i), element)
		})
	})
	if err != nil {
		return nil, err
	}
	return d.batches(), nil
}

// span is a span in JSON.
type span struct {
	TraceID        string      `json:"traceId"`
	ID             string      `json:"id"`
	ParentID       string      `json:"parentId"`
	Name           string      `json:"name"`
	Kind           string      `json:"kind"`
	Timestamp      json.Number `json:"timestamp"`
	Duration       json.Number `json:"duration"`
	Shared         bool        `json:"shared"`
	LocalEndpoint  endpoint    `json:"localEndpoint"`
	RemoteEndpoint endpoint    `json:"remoteEndpoint"`
	Annotations    []struct {
		Timestamp json.Number `json:"timestamp"`
		Value     string      `json:"value"`
	} `json:"annotations"`
	Tags map[string]json.RawMessage `json:"tags"`
	// BinaryAnnotations are what version 1 has instead of Tags.
	BinaryAnnotations json.RawMessage `json:"binaryAnnotations"`
}

type endpoint struct {
	ServiceName string `json:"serviceName"`
	IPv4        string `json:"ipv4"`
	IPv6        string `json:"ipv6"`
	Port        uint16 `json:"port"`
}

// decoder collects spans, because the parent of one may come after it.
type decoder struct {
	spans    []decoded
	clients  map[shared]bool // without the service
	servers  map[shared]bool
	earliest map[dendro.TraceID]int64 // start of a span
}

type decoded struct {
	*dendro.SpanData
	service string
	shared  bool // the client has the same id
	timed   bool
}

// shared identifies the server's half of a span.
type shared struct {
	trace   dendro.TraceID
	id      dendro.SpanID
	service string
}

// serverID returns the id of the server's half.
func (s shared) serverID() (id dendro.SpanID) {
	sum := sha256.Sum256(append(append(s.trace[:], s.id[:]...), s.service...))
	copy(id[:], sum[:])
	return id
}

func (d *decoder) span(place string, data []byte) error {
	var in span
	if err := json.Unmarshal(data, &in); err != nil {
		return spanjson.At(place, err)
	}
	if in.BinaryAnnotations != nil {
		return spanjson.At(place, errors.New("a span of Zipkin's version 1, which is not understood: want version 2"))
	}
	s := decoded{SpanData: &dendro.SpanData{Name: in.Name, RemoteUnknown: true}, service: in.LocalEndpoint.ServiceName, shared: in.Shared}
	var err error
	if s.TraceID, err = spanjson.TraceID(in.TraceID); err != nil {
		return spanjson.At(place+".traceId", err)
	}
	if s.SpanID, err = spanjson.SpanID(in.ID); err != nil {
		return spanjson.At(place+".id", err)
	}
	if s.ParentID, err = spanjson.ParentID(in.ParentID); err != nil {
		return spanjson.At(place+".parentId", err)
	}
	if s.ParentID == s.SpanID { // as some senders write a root
		s.ParentID = dendro.SpanID{}
	}
	if in.Kind != "" {
		s.Kind, _ = spanjson.Kind(in.Kind)
	}
	if s.Start, err = spanjson.Nanos(in.Timestamp); err != nil {
		return spanjson.At(place+".timestamp", err)
	}
	duration, err := spanjson.Nanos(in.Duration)
	if err != nil {
		return spanjson.At(place+".duration", err)
	}
	for i, a := range in.Annotations {
		e := event(a.Value)
		if e.Time, err = spanjson.Nanos(a.Timestamp); err != nil {
			return spanjson.At(fmt.Sprintf("%s.annotations[%d].timestamp", place, i), err)
		}
		s.Events = append(s.Events, e)
	}
	s.timed = s.Start > 0 || len(s.Events) > 0
	if s.Start == 0 && s.timed {
		s.Start = slices.MinFunc(s.Events, func(a, b dendro.Event) int { return cmp.Compare(a.Time, b.Time) }).Time
	}
	s.End = spanjson.End(s.Start, duration)
	s.Attributes = attributes(&in)

	if first, known := d.earliest[s.TraceID]; s.timed && (!known || s.Start < first) {
		d.earliest[s.TraceID] = s.Start
	}
	if s.Kind == dendro.KindClient {
		d.clients[shared{s.TraceID, s.SpanID, ""}] = true
	}
	d.spans = append(d.spans, s)
	return nil
}

// event returns the event that an annotation stands for.
func event(value string) dendro.Event {
	var named map[string]map[string]json.RawMessage
	if len(value) == 0 || value[0] != '"' || json.Unmarshal([]byte("{"+value+"}"), &named) != nil || len(named) != 1 {
		return dendro.Event{Name: value}
	}
	var e dendro.Event
	for name, attrs := range named {
		e.Name = name
		for _, key := range slices.Sorted(maps.Keys(attrs)) {
			e.Attributes = append(e.Attributes, slog.Attr{Key: key, Value: spanjson.Value(attrs[key])})
		}
	}
	return e
}

// attributes returns the tags, sorted by key, and what the endpoints say.
func attributes(in *span) []slog.Attr {
	var set spanjson.Set
	for _, key := range slices.Sorted(maps.Keys(in.Tags)) {
		if raw := in.Tags[key]; string(raw) != "null" {
			set.Put(key, slog.StringValue(spanjson.Value(raw).String()))
		}
	}
	add := func(key string, v slog.Value) {
		if !set.Has(key) && !v.Equal(slog.StringValue("")) && !v.Equal(slog.IntValue(0)) {
			set.Put(key, v)
		}
	}
	local, remote := &in.LocalEndpoint, &in.RemoteEndpoint
	add(semconv.NetworkLocalAddress, slog.StringValue(cmp.Or(local.IPv4, local.IPv6)))
	add(semconv.NetworkLocalPort, slog.IntValue(int(local.Port)))
	add(semconv.PeerService, slog.StringValue(remote.ServiceName))
	add(semconv.NetworkPeerAddress, slog.StringValue(cmp.Or(remote.IPv4, remote.IPv6)))
	add(semconv.NetworkPeerPort, slog.IntValue(int(remote.Port)))
	return set.Attrs
}

// batches gives the halves of shared spans their ids, and times to spans without, and groups all
// spans by service.
func (d *decoder) batches() []*dendro.Batch {
	for i := range d.spans {
		s := &d.spans[i]
		// Some servers do not say that they share the id.
		s.shared = s.shared || s.Kind == dendro.KindServer && d.clients[shared{s.TraceID, s.SpanID, ""}]
		if s.shared {
			d.servers[shared{s.TraceID, s.SpanID, s.service}] = true
		}
	}
	var out spanjson.Batches
	resources := map[string]*dendro.Resource{"": {}}
	for _, s := range d.spans {
		if s.shared {
			s.ParentID, s.Remote, s.RemoteUnknown = s.SpanID, true, false
			s.SpanID = shared{s.TraceID, s.SpanID, s.service}.serverID()
		} else if above := (shared{s.TraceID, s.ParentID, s.service}); d.servers[above] {
			s.ParentID, s.RemoteUnknown = above.serverID(), false
		}
		if !s.timed {
			start := d.earliest[s.TraceID]
			s.Start, s.End = start, spanjson.End(start, s.End)
		}
		r := resources[s.service]
		if r == nil {
			r = &dendro.Resource{Attributes: []slog.Attr{slog.String(semconv.ServiceName, s.service)}}
			resources[s.service] = r
		}
		out.Add(s.service, r, s.SpanData)
	}
	return out.All
}
