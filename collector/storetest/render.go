package storetest

import (
	"fmt"
	"log/slog"
	"math"
	"strings"

	"github.com/dendrotrace/dendro"
)

// render returns everything in a span as text, for comparison.
func render(s *dendro.SpanData) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %02x %q\n", s.TraceID, s.SpanID, byte(s.Flags), s.State)
	fmt.Fprintf(&b, "parent %s remote %t %t\n", s.ParentID, s.Remote, s.RemoteUnknown)
	fmt.Fprintf(&b, "%s %q %d %d\n", s.Kind, s.Name, s.Start, s.End)
	fmt.Fprintf(&b, "%s %q\n", s.Status.Code, s.Status.Message)
	fmt.Fprintf(&b, "dropped %d %d %d\n", s.DroppedAttributes, s.DroppedEvents, s.DroppedLinks)
	b.WriteString(renderScope(s.Scope))
	renderAttrs(&b, "", s.Attributes)
	for _, e := range s.Events {
		fmt.Fprintf(&b, "event %q %d %d dropped %d\n", e.Name, e.Time, e.Duration, e.DroppedAttributes)
		renderAttrs(&b, "\t", e.Attributes)
	}
	for _, l := range s.Links {
		fmt.Fprintf(&b, "link %s %s %02x %t %t %q dropped %d\n", l.TraceID, l.SpanID, byte(l.Flags), l.Remote, l.RemoteKnown, l.State, l.DroppedAttributes)
		renderAttrs(&b, "\t", l.Attributes)
	}
	return b.String()
}

func renderResource(r *dendro.Resource) string {
	var b strings.Builder
	fmt.Fprintf(&b, "resource %q dropped %d\n", r.SchemaURL, r.DroppedAttributes)
	renderAttrs(&b, "\t", r.Attributes)
	return b.String()
}

// renderScope returns a scope as text. No scope is an empty one.
func renderScope(s *dendro.Scope) string {
	if s == nil {
		s = &dendro.Scope{}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "scope %q %q %q dropped %d\n", s.Name, s.Version, s.SchemaURL, s.DroppedAttributes)
	renderAttrs(&b, "\t", s.Attributes)
	return b.String()
}

func renderAttrs(b *strings.Builder, indent string, attrs []slog.Attr) {
	for _, a := range attrs {
		fmt.Fprintf(b, "%s%q = %s\n", indent, a.Key, renderValue(a.Value))
	}
}

func renderValue(v slog.Value) string {
	switch x := v.Any().(type) {
	case float64:
		return fmt.Sprintf("float64 %v %016x", x, math.Float64bits(x))
	case []slog.Value:
		var items []string
		for _, v := range x {
			items = append(items, renderValue(v))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case dendro.KeyValues:
		var b strings.Builder
		renderAttrs(&b, "", x)
		return "{" + b.String() + "}"
	default:
		return fmt.Sprintf("%s %#v", v.Kind(), x)
	}
}
