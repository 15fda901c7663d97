package otlp

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
)

// dump formats batches with one fact per line. Unlike reflect.DeepEqual it compares
// attribute values, and distinguishes nil from empty only where it matters. Adjacent
// batches of a resource are like one batch.
func dump(batches []*dendro.Batch) string {
	var b strings.Builder
	var resource *dendro.Resource
	var scope *dendro.Scope
	for _, batch := range batches {
		if r := batch.Resource; r != resource {
			resource, scope = r, nil
			fmt.Fprintf(&b, "resource %q dropped %d\n", r.SchemaURL, r.DroppedAttributes)
			dumpAttrs(&b, r.Attributes)
		}
		for _, s := range batch.Spans {
			if s.Scope != scope {
				scope = s.Scope
				fmt.Fprintf(&b, "scope %q %q %q dropped %d\n", scope.Name, scope.Version, scope.SchemaURL, scope.DroppedAttributes)
				dumpAttrs(&b, scope.Attributes)
			}
			fmt.Fprintf(&b, "span %v %v %x %q parent %v %v %v\n", s.TraceID, s.SpanID, s.Flags, s.State, s.ParentID, s.Remote, s.RemoteUnknown)
			fmt.Fprintf(&b, "  %v %q %d %d %v %q\n", s.Kind, s.Name, s.Start, s.End, s.Status.Code, s.Status.Message)
			fmt.Fprintf(&b, "  dropped %d %d %d\n", s.DroppedAttributes, s.DroppedEvents, s.DroppedLinks)
			dumpAttrs(&b, s.Attributes)
			for _, e := range s.Events {
				fmt.Fprintf(&b, "event %q %d %d dropped %d\n", e.Name, e.Time, e.Duration, e.DroppedAttributes)
				dumpAttrs(&b, e.Attributes)
			}
			for _, l := range s.Links {
				fmt.Fprintf(&b, "link %v %v %x %v %v %q dropped %d\n", l.TraceID, l.SpanID, l.Flags, l.Remote, l.RemoteKnown, l.State, l.DroppedAttributes)
				dumpAttrs(&b, l.Attributes)
			}
		}
	}
	return b.String()
}

func dumpAttrs(b *strings.Builder, attrs []slog.Attr) {
	for _, a := range attrs {
		fmt.Fprintf(b, "  %q = %s\n", a.Key, dumpValue(a.Value))
	}
}

func dumpValue(v slog.Value) string {
	if members, ok := v.Any().(dendro.KeyValues); ok {
		var b strings.Builder
		dumpAttrs(&b, members)
		return "{" + strings.Join(strings.Fields(b.String()), " ") + "}"
	}
	list, ok := v.Any().([]slog.Value)
	if !ok {
		return fmt.Sprintf("%T %#v", v.Any(), v.Any())
	}
	texts := make([]string, len(list))
	for i, e := range list {
		texts[i] = dumpValue(e)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// equal fails the test unless got and want have the same content.
func equal(t *testing.T, what string, got, want []*dendro.Batch) {
	t.Helper()
	g, w := strings.Split(dump(got), "\n"), strings.Split(dump(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s: line %d differs:\ngot\n%s\nwant\n%s", what, i+1, strings.Join(g[min(i, len(g)):], "\n"), strings.Join(w[min(i, len(w)):], "\n"))
		}
	}
}

// generator makes random spans of every shape that dendro.SpanData allows.
type generator struct{ *rand.Rand }

func (g generator) batches() []*dendro.Batch {
	var out []*dendro.Batch
	for range g.IntN(4) {
		r := &dendro.Resource{Attributes: g.attrs(), SchemaURL: g.text(), DroppedAttributes: g.Uint32() >> g.IntN(33)}
		b := &dendro.Batch{Resource: r}
		for range 1 + g.IntN(2) {
			scope := &dendro.Scope{Name: g.text(), Version: g.text(), Attributes: g.attrs(), SchemaURL: g.text(), DroppedAttributes: g.Uint32() >> g.IntN(33)}
			for range 1 + g.IntN(3) {
				b.Spans = append(b.Spans, ofScope(scope, g.span()))
			}
		}
		out = append(out, b)
	}
	return out
}

func (g generator) span() *dendro.SpanData {
	s := &dendro.SpanData{
		SpanContext:       g.context(),
		Remote:            g.IntN(2) == 0,
		Kind:              dendro.Kind(g.IntN(6)),
		Name:              g.text(),
		Start:             g.nanos(),
		End:               g.nanos(),
		Attributes:        g.attrs(),
		DroppedAttributes: g.Uint32() >> g.IntN(33),
		DroppedEvents:     g.Uint32() >> g.IntN(33),
		DroppedLinks:      g.Uint32() >> g.IntN(33),
	}
	s.RemoteUnknown = !s.Remote && g.IntN(2) == 0
	if g.IntN(3) > 0 {
		s.ParentID[g.IntN(8)] = byte(1 + g.IntN(255))
	}
	if g.IntN(3) == 0 {
		s.Status = dendro.Status{Code: dendro.StatusCode(g.IntN(3)), Message: g.text()}
	}
	for range g.IntN(3) {
		s.Events = append(s.Events, dendro.Event{
			Name:              "e" + g.text(),
			Time:              g.nanos(),
			Duration:          time.Duration(g.nanos()),
			Attributes:        g.attrs(),
			DroppedAttributes: g.Uint32() >> g.IntN(33),
		})
	}
	for range g.IntN(3) {
		remote := g.IntN(3)
		s.Links = append(s.Links, dendro.Link{
			SpanContext: g.context(), Attributes: g.attrs(), DroppedAttributes: g.Uint32() >> g.IntN(33),
			RemoteKnown: remote > 0, Remote: remote > 1,
		})
	}
	return s
}

func (g generator) context() (sc dendro.SpanContext) {
	for i := range sc.TraceID {
		sc.TraceID[i] = byte(g.Uint32())
	}
	for i := range sc.SpanID {
		sc.SpanID[i] = byte(1 + g.IntN(255))
	}
	sc.Flags = dendro.TraceFlags(g.Uint32())
	if g.IntN(2) == 0 {
		sc.State, _ = dendro.ParseTraceState("vendor=1,other=x y")
	}
	return sc
}

func (g generator) nanos() int64 {
	return [...]int64{0, 1, 1_795_000_000_123_456_789, math.MaxInt64}[g.IntN(4)]
}

// text returns texts whose lengths lie on both sides of the steps of a varint.
func (g generator) text() string {
	if g.IntN(100) == 0 {
		return strings.Repeat("long", 4096)
	}
	s := [...]string{"", "x", "naïve ☃ 𝄞", "a \"quoted\" \\ line\n\x00\x1f\u007f\u2028<&>", strings.Repeat("ä", 64)}
	return s[g.IntN(len(s))]
}

func (g generator) attrs() []slog.Attr {
	var out []slog.Attr
	for i := range g.IntN(12) {
		out = append(out, slog.Attr{Key: fmt.Sprint("key.", i), Value: g.value(3)})
	}
	return out
}

func (g generator) scalar(kind int) slog.Value {
	switch kind {
	case 0:
		return slog.StringValue(g.text())
	case 1:
		return slog.Int64Value([...]int64{0, 1, -1, 127, 128, math.MinInt64, math.MaxInt64}[g.IntN(7)])
	case 2:
		return slog.Float64Value([...]float64{0, math.Copysign(0, -1), 1.5, 1e-7, 1e300, math.NaN(), math.Inf(1), math.Inf(-1), 5e-324}[g.IntN(9)])
	default:
		return slog.BoolValue(g.IntN(2) == 0)
	}
}

func (g generator) value(depth int) slog.Value {
	kind := g.IntN(4)
	list := make([]slog.Value, 1+g.IntN(9))
	switch g.IntN(10) {
	case 0: // an array of one type
		for i := range list {
			list[i] = g.scalar(kind)
		}
		return typed(list)
	case 1: // an array of several types
		if depth > 0 {
			list[0] = slog.Value{}
			for i := range list[1:] {
				list[i+1] = g.value(depth - 1)
			}
			return slog.AnyValue(list)
		}
	case 2:
		return slog.AnyValue([]byte(g.text()))
	case 3:
		return slog.Value{}
	case 4:
		return slog.AnyValue([]slog.Value{})
	case 5:
		var members dendro.KeyValues
		for i := range g.IntN(min(4, depth+1)) {
			members = append(members, slog.Attr{Key: fmt.Sprint("member ", i), Value: g.value(depth - 1)})
		}
		return slog.AnyValue(members)
	}
	return g.scalar(kind)
}
