package spanjson

import (
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Batches groups spans by resource, in the order in which resources come first. The zero value
// is empty.
type Batches struct {
	All    []*dendro.Batch
	byKey  map[string]*dendro.Batch
	scopes map[scope]*dendro.Scope
}

type scope struct{ name, version string }

// Add adds a span. key identifies the resource: of those with the same key, the first is used.
//
// Of the attributes of the span, Add takes out those that OpenTelemetry's "Transformation to
// non-OTLP Formats" puts there, and sets the fields that they stand for. Of a tag error, which
// Zipkin and OpenTracing define, the text is the message of the status unless it is "true" or
// "false".
func (b *Batches) Add(key string, r *dendro.Resource, s *dendro.SpanData) {
	if b.byKey == nil {
		b.byKey, b.scopes = map[string]*dendro.Batch{}, map[scope]*dendro.Scope{}
	}
	batch := b.byKey[key]
	if batch == nil {
		batch = &dendro.Batch{Resource: r}
		b.byKey[key] = batch
		b.All = append(b.All, batch)
	}
	b.takeTags(s)
	batch.Spans = append(batch.Spans, s)
}

// takeTags sets the fields of s that some of its attributes stand for.
func (b *Batches) takeTags(s *dendro.SpanData) {
	var from scope
	var code, message string
	failed := false
	s.Attributes = slices.DeleteFunc(s.Attributes, func(a slog.Attr) bool {
		text := a.Value.String()
		switch a.Key {
		case "": // nothing to show
			s.DroppedAttributes++
		case semconv.OtelScopeName, semconv.OldOtelLibraryName:
			from.name = text
		case semconv.OtelScopeVersion, semconv.OldOtelLibraryVersion:
			from.version = text
		case semconv.OtelStatusCode:
			code = strings.ToUpper(text)
		case semconv.OtelStatusDescription:
			message = text
		case semconv.OtelDroppedAttributes:
			return AddCount(&s.DroppedAttributes, text)
		case semconv.OtelDroppedEvents:
			return AddCount(&s.DroppedEvents, text)
		case semconv.OtelDroppedLinks:
			return AddCount(&s.DroppedLinks, text)
		case "w3c.tracestate":
			state, err := dendro.ParseTraceState(text)
			s.State = state
			return err == nil
		case "span.kind":
			kind, known := Kind(text)
			if known && s.Kind == dendro.KindInternal {
				s.Kind = kind
			}
			return known
		case "error":
			if kind := a.Value.Kind(); text == "false" || kind != slog.KindString && kind != slog.KindBool {
				return false
			}
			failed = true
			if text != "true" && text != "" {
				message = text
			}
		default:
			return false
		}
		return true
	})
	switch {
	case failed || code == "ERROR":
		s.Status = dendro.Status{Code: dendro.StatusError, Message: message}
	case code == "OK":
		s.Status.Code = dendro.StatusOK
	}
	if b.scopes[from] == nil {
		b.scopes[from] = &dendro.Scope{Name: from.name, Version: from.version}
	}
	s.Scope = b.scopes[from]
}

// AddCount adds the number in text to n, and reports whether there is one.
func AddCount(n *uint32, text string) bool {
	more, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return false
	}
	*n = uint32(min(uint64(*n)+more, math.MaxUint32))
	return true
}

// Kind returns the kind with a name such as "client", in any case.
func Kind(name string) (dendro.Kind, bool) {
	for kind := dendro.KindInternal; kind < dendro.KindUnspecified; kind++ {
		if strings.EqualFold(name, kind.String()) {
			return kind, true
		}
	}
	return dendro.KindUnspecified, false
}

// Set is a list of attributes with unique keys. The zero value is empty.
type Set struct {
	Attrs []slog.Attr
	at    map[string]int
}

// Put adds an attribute or replaces the one with its key.
func (s *Set) Put(key string, v slog.Value) {
	at, found := s.at[key]
	if found {
		s.Attrs[at].Value = v
		return
	}
	if s.at == nil {
		s.at = map[string]int{}
	}
	s.at[key] = len(s.Attrs)
	s.Attrs = append(s.Attrs, slog.Attr{Key: key, Value: v})
}

// Has reports whether there is an attribute with a key.
func (s *Set) Has(key string) bool {
	_, found := s.at[key]
	return found
}
