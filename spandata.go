package dendro

import (
	"log/slog"
	"slices"
	"time"
)

// Kind is the side of a call that a span describes.
type Kind uint8

// The kinds of OpenTelemetry.
const (
	KindInternal    Kind = iota // work inside a process; the zero value
	KindServer                  // handling of a request from a client
	KindClient                  // a request to a server, until its response
	KindProducer                // sending of a message without waiting for a response
	KindConsumer                // handling of such a message
	KindUnspecified             // the sender did not say; a [Tracer] makes no such spans
)

var kindNames = [...]string{"internal", "server", "client", "producer", "consumer", "unspecified"}

// String returns the lower-case name that OpenTelemetry uses, or "internal" for values
// out of range.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindInternal]
}

// StatusCode is the outcome of the work of a span.
type StatusCode uint8

// The status codes of OpenTelemetry.
const (
	StatusUnset StatusCode = iota // ended without a known error; the zero value
	StatusOK                      // the program confirmed success
	StatusError                   // failed
)

var statusNames = [...]string{"unset", "ok", "error"}

// String returns the lower-case name that OpenTelemetry uses, or "unset" for values
// out of range.
func (c StatusCode) String() string {
	if int(c) < len(statusNames) {
		return statusNames[c]
	}
	return statusNames[StatusUnset]
}

// Status is the outcome of the work of a span. Only errors have a message.
type Status struct {
	Code    StatusCode
	Message string
}

// Event is something that happened during a span.
type Event struct {
	Name string
	// Time is when the event happened or began, in nanoseconds since the Unix epoch.
	Time int64
	// Duration is how long the event took. It is zero for a point in time.
	Duration   time.Duration
	Attributes []slog.Attr
	// DroppedAttributes is the number of attributes that exceeded the limit.
	DroppedAttributes uint32
}

// KeyValues is an attribute value that consists of attributes. It is for spans from other
// senders and other APIs: a group of [log/slog] becomes dotted keys instead. In queries,
// their members have dotted keys, with the index of an element of an array: a.b.0.c.
type KeyValues []slog.Attr

// Link is a link from a span to another one that is not its parent, for example the
// request that queued the work, or one of the messages of a batch.
type Link struct {
	SpanContext
	Attributes []slog.Attr
	// DroppedAttributes is the number of attributes that exceeded the limit.
	DroppedAttributes uint32
	// Remote reports whether the span belongs to another process. It is only meaningful if
	// RemoteKnown is set, which only spans from other senders have.
	Remote, RemoteKnown bool
}

// SpanData is the recorded data of one span.
//
// Attribute values are of the kinds [slog.KindString], [slog.KindInt64],
// [slog.KindFloat64] and [slog.KindBool], or [slog.KindAny] with a []string, []int64,
// []float64, []bool, []byte, a []slog.Value of these, or [KeyValues] of these. There are
// no groups: their members have dotted keys.
type SpanData struct {
	SpanContext
	// ParentID is zero for the root of a trace.
	ParentID SpanID
	// Remote reports whether the parent belongs to another process, or to another
	// [Tracer] of this one. The span then is the root of a local trace.
	Remote bool
	// RemoteUnknown reports that the sender did not say whether the parent is remote. Remote
	// is false then.
	RemoteUnknown bool
	Kind          Kind
	// DroppedAttributes, DroppedEvents and DroppedLinks count what exceeded the
	// limits.
	DroppedAttributes, DroppedEvents, DroppedLinks uint32

	Name string
	// Scope is the library that made the span. It is nil if the sender gave none, but never
	// for spans of a [Tracer].
	Scope *Scope
	// Start and End are nanoseconds since the Unix epoch.
	Start, End int64
	Attributes []slog.Attr
	Events     []Event
	Links      []Link
	Status     Status
}

// Duration returns End - Start, or zero if that is negative.
func (d *SpanData) Duration() time.Duration { return time.Duration(max(0, d.End-d.Start)) }

// Clone returns a copy of d, for collectors that keep spans. It shares only strings, the
// slices in attribute values and the scope with d, which are never modified.
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

// Resource describes the process that made spans: the service, its version, its host.
// It must not be modified once it is in use. Two resources are the same only if their
// pointers are equal.
type Resource struct {
	// Attributes have unique keys and values as in [SpanData].
	Attributes []slog.Attr
	SchemaURL  string
	// DroppedAttributes is the number of attributes that the sender dropped.
	DroppedAttributes uint32
}

// Get returns the text of the attribute key, or "" if r has none.
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

// Scope identifies the library that made spans, the instrumentation scope of
// OpenTelemetry. It must not be modified once it is in use. Two scopes are the same only if
// their pointers are equal.
type Scope struct {
	Name, Version string
	// Attributes have unique keys and values as in [SpanData].
	Attributes []slog.Attr
	SchemaURL  string
	// DroppedAttributes is the number of attributes that the sender dropped.
	DroppedAttributes uint32
}

// Batch is a number of ended spans with the same resource. A [Tracer] delivers one local
// trace, or part of one, in a Batch: the spans that one request made in one process, in
// the order in which they ended.
type Batch struct {
	Resource *Resource
	Spans    []*SpanData
	// Fresh reports that these spans are delivered only once: no other batch has one
	// of them. That is true for a [Tracer] in the process. Spans from elsewhere may
	// arrive twice, if the client does not learn that they have arrived, so a store
	// must look for duplicates.
	Fresh bool
	// Last reports that the local trace is complete: all its spans are in this batch or in
	// those that were handed over before, and no other batch of it is handed over later.
	// Other goroutines may still be delivering those before, so Collect may return for
	// them, or even begin, after this batch.
	//
	// A span that is started below one of a complete local trace begins another local
	// trace of the same trace. If a span is never ended, or the rest of the local trace is
	// discarded or dropped, no batch has Last. Only a [Tracer] sets it: spans from
	// elsewhere are not grouped by local trace.
	Last bool
}
