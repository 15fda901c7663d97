package dendro

import (
	"log/slog"
	"slices"
	"time"
)

// Kind says which side of a call a span stands for.
type Kind uint8

// The kinds of OpenTelemetry.
const (
	KindInternal Kind = iota // work inside one process; the zero value
	KindServer               // the handling of a request from elsewhere
	KindClient               // a request to elsewhere, until its answer
	KindProducer             // the sending of a message that nobody answers
	KindConsumer             // the handling of such a message
)

var kindNames = [...]string{"internal", "server", "client", "producer", "consumer"}

// String returns the lower-case name of OpenTelemetry, "internal" for values
// out of range.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindInternal]
}

// StatusCode says how the work of a span ended.
type StatusCode uint8

// The status codes of OpenTelemetry.
const (
	StatusUnset StatusCode = iota // ended without a known error; the zero value
	StatusOK                      // somebody vouches for the result
	StatusError                   // failed
)

var statusNames = [...]string{"unset", "ok", "error"}

// String returns the lower-case name of OpenTelemetry, "unset" for values out
// of range.
func (c StatusCode) String() string {
	if int(c) < len(statusNames) {
		return statusNames[c]
	}
	return statusNames[StatusUnset]
}

// Status is how the work of a span ended. Only errors have a message.
type Status struct {
	Code    StatusCode
	Message string
}

// Event is something that happened during a span.
type Event struct {
	Name string
	// Time is when it happened, or began, in nanoseconds since the Unix
	// epoch.
	Time int64
	// Duration is how long it took, zero for a point in time.
	Duration   time.Duration
	Attributes []slog.Attr
	// DroppedAttributes counts attributes over the limit.
	DroppedAttributes uint32
}

// Link points from a span to a span that is not its parent: the request that
// queued the work, one of the messages of a batch.
type Link struct {
	SpanContext
	Attributes []slog.Attr
	// DroppedAttributes counts attributes over the limit.
	DroppedAttributes uint32
}

// SpanData is what is known of one span.
//
// Attribute values are of the kinds [slog.KindString], [slog.KindInt64],
// [slog.KindFloat64], [slog.KindBool], or [slog.KindAny] with a []string,
// []int64, []float64, []bool, []byte or a []slog.Value of these. There are no
// groups: their members have dotted keys.
type SpanData struct {
	SpanContext
	// ParentID is zero for the root of a trace.
	ParentID SpanID
	// Remote says that the parent belongs to another process, or to another
	// [Tracer] of this one: this span is the root of a local trace.
	Remote bool
	Kind   Kind
	Name   string
	// Start and End are nanoseconds since the Unix epoch.
	Start, End int64
	Attributes []slog.Attr
	Events     []Event
	Links      []Link
	Status     Status
	// DroppedAttributes, DroppedEvents and DroppedLinks count what was over
	// the limits.
	DroppedAttributes, DroppedEvents, DroppedLinks uint32
}

// Duration returns End - Start, zero if that is negative.
func (d *SpanData) Duration() time.Duration { return time.Duration(max(0, d.End-d.Start)) }

// Clone returns a copy of d that shares no memory with it but strings and the
// slices inside of attribute values, which nobody changes. It is for collectors
// that keep spans.
func (d *SpanData) Clone() *SpanData {
	c := *d
	c.Attributes = slices.Clone(d.Attributes)
	c.Events = slices.Clone(d.Events)
	for i := range c.Events {
		c.Events[i].Attributes = slices.Clone(c.Events[i].Attributes)
	}
	c.Links = slices.Clone(d.Links)
	for i := range c.Links {
		c.Links[i].Attributes = slices.Clone(c.Links[i].Attributes)
	}
	return &c
}

// Resource describes what made the spans: the service, its version, its host.
// It must not be changed once in use. Two resources are the same only if their
// pointers are.
type Resource struct {
	// Attributes has each key once, as in [SpanData].
	Attributes []slog.Attr
	SchemaURL  string
}

// Get returns the text of the attribute key, "" when r has none.
func (r *Resource) Get(key string) string {
	if r != nil {
		for _, a := range r.Attributes {
			if a.Key == key {
				return a.Value.String()
			}
		}
	}
	return ""
}

// Service returns the attribute service.name.
func (r *Resource) Service() string { return r.Get("service.name") }

// Scope names the library that made the spans.
type Scope struct {
	Name, Version string
	Attributes    []slog.Attr
	SchemaURL     string
}

// Batch is a number of ended spans of one resource and one scope. What a
// [Tracer] hands over is one local trace, or a part of one: the spans that one
// request made in one process, in the order in which they ended.
type Batch struct {
	Resource *Resource
	Scope    *Scope
	Spans    []*SpanData
	// Fresh says that nobody else has these spans: no batch before had one of
	// them, and none that follows will. So it is with a [Tracer] in the process. What
	// comes from elsewhere may come twice, when a client did not hear that it had
	// arrived: a store has to look.
	Fresh bool
}
