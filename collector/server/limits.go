package server

import (
	"log/slog"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/dendrotrace/dendro"
)

// elementBytes is what an element of an array or a map counts besides its text.
const elementBytes = 8

// limit cuts and drops what exceeds the limits of Options, and counts it.
func (c *call) limit(batches []*dendro.Batch) {
	l := limiter{o: &c.options}
	for _, b := range batches {
		l.batch(b)
	}
	if l.truncated > 0 {
		c.truncated.Add(l.truncated)
	}
	if l.attributes > 0 {
		c.attributes.Add(l.attributes)
	}
	if l.events > 0 {
		c.events.Add(l.events)
	}
	if l.links > 0 {
		c.links.Add(l.links)
	}
}

// limiter applies limits to spans that nobody else has, and counts what exceeds them.
type limiter struct {
	o                                    *Options
	truncated, attributes, events, links uint64
}

func (l *limiter) batch(b *dendro.Batch) {
	l.name(&b.Resource.SchemaURL)
	l.attrs(&b.Resource.Attributes, &b.Resource.DroppedAttributes)
	var scope *dendro.Scope // of the span before
	for _, s := range b.Spans {
		if s.Scope != scope && s.Scope != nil {
			scope = s.Scope
			l.name(&scope.Name)
			l.name(&scope.Version)
			l.name(&scope.SchemaURL)
			l.attrs(&scope.Attributes, &scope.DroppedAttributes)
		}
		l.span(s)
	}
}

func (l *limiter) span(s *dendro.SpanData) {
	l.name(&s.Name)
	if len(s.Status.Message) > l.o.MaxValueBytes {
		s.Status.Message = cutText(s.Status.Message, l.o.MaxValueBytes)
		l.truncated++
	}
	l.attrs(&s.Attributes, &s.DroppedAttributes)
	l.events += first(&s.Events, l.o.MaxEvents, &s.DroppedEvents)
	for i := range s.Events {
		e := &s.Events[i]
		l.name(&e.Name)
		l.attrs(&e.Attributes, &e.DroppedAttributes)
	}
	l.links += first(&s.Links, l.o.MaxLinks, &s.DroppedLinks)
	for i := range s.Links {
		l.attrs(&s.Links[i].Attributes, &s.Links[i].DroppedAttributes)
	}
}

func (l *limiter) name(s *string) {
	if len(*s) > l.o.MaxNameBytes {
		*s = cutText(*s, l.o.MaxNameBytes)
		l.truncated++
	}
}

func (l *limiter) attrs(attrs *[]slog.Attr, dropped *uint32) {
	l.attributes += first(attrs, l.o.MaxAttributes, dropped)
	longKeys := 0
	for i := range *attrs {
		a := &(*attrs)[i]
		if len(a.Key) > l.o.MaxKeyBytes {
			longKeys++
		} else if size(a.Value) > l.o.MaxValueBytes {
			a.Value, _ = cutValue(a.Value, l.o.MaxValueBytes)
			l.truncated++
		}
	}
	if longKeys > 0 {
		*attrs = slices.DeleteFunc(*attrs, func(a slog.Attr) bool { return len(a.Key) > l.o.MaxKeyBytes })
		l.attributes += drop(longKeys, dropped)
	}
}

// first removes all but the first n elements, and returns how many it has removed.
func first[T any](list *[]T, n int, dropped *uint32) uint64 {
	if len(*list) <= n {
		return 0
	}
	excess := len(*list) - n
	*list = (*list)[:n]
	return drop(excess, dropped)
}

// drop adds n to dropped, at most to the largest number that there is.
func drop(n int, dropped *uint32) uint64 {
	*dropped += uint32(min(uint64(n), uint64(math.MaxUint32-*dropped)))
	return uint64(n)
}

// size returns what v counts: the bytes of a string, and of an array or map elementBytes for
// each element, plus its text.
func size(v slog.Value) (n int) {
	switch v.Kind() {
	case slog.KindString:
		return len(v.String())
	case slog.KindAny:
	default:
		return 0
	}
	switch x := v.Any().(type) {
	case []byte:
		return len(x)
	case []int64:
		return elementBytes * len(x)
	case []float64:
		return elementBytes * len(x)
	case []bool:
		return elementBytes * len(x)
	case []string:
		for _, s := range x {
			n += elementBytes + len(s)
		}
	case []slog.Value:
		for _, e := range x {
			n += elementBytes + size(e)
		}
	case dendro.KeyValues:
		for _, a := range x {
			n += elementBytes + len(a.Key) + size(a.Value)
		}
	}
	return n
}

// cutValue returns the beginning of v whose size is at most room, and the room that is left.
// It may modify v.
func cutValue(v slog.Value, room int) (slog.Value, int) {
	if v.Kind() == slog.KindString {
		s := cutText(v.String(), room)
		return slog.StringValue(s), room - len(s)
	}
	if v.Kind() != slog.KindAny {
		return v, room
	}
	n := 0 // elements that fit
	switch x := v.Any().(type) {
	case []byte:
		n = min(len(x), room)
		return slog.AnyValue(x[:n]), room - n
	case []int64:
		n = min(len(x), room/elementBytes)
		return slog.AnyValue(x[:n]), room - n*elementBytes
	case []float64:
		n = min(len(x), room/elementBytes)
		return slog.AnyValue(x[:n]), room - n*elementBytes
	case []bool:
		n = min(len(x), room/elementBytes)
		return slog.AnyValue(x[:n]), room - n*elementBytes
	case []string:
		for ; n < len(x) && room > elementBytes; n++ {
			x[n] = cutText(x[n], room-elementBytes)
			room -= elementBytes + len(x[n])
		}
		return slog.AnyValue(x[:n]), room
	case []slog.Value:
		for ; n < len(x) && room > elementBytes; n++ {
			x[n], room = cutValue(x[n], room-elementBytes)
		}
		return slog.AnyValue(x[:n]), room
	case dendro.KeyValues:
		for ; n < len(x) && room > elementBytes+len(x[n].Key); n++ {
			x[n].Value, room = cutValue(x[n].Value, room-elementBytes-len(x[n].Key))
		}
		return slog.AnyValue(x[:n]), room
	}
	return v, room
}

// cutText returns the beginning of s: whole characters, of at most n bytes.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
