package testkit

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Normal returns everything that spans record as sorted lines, to compare two runs of a program.
// Names of spans stand for ids, and the flag of random ids is left out. replace returns what is
// compared of an attribute, and when what is compared of a time.
func Normal(spans []Span, replace func(slog.Attr) slog.Attr, when func(at int64) string) string {
	names := map[dendro.SpanID]string{}
	traces := map[dendro.TraceID]string{} // the first of the names of its spans
	for _, s := range spans {
		names[s.SpanID] = s.Name
		if name, known := traces[s.TraceID]; !known || s.Name < name {
			traces[s.TraceID] = s.Name
		}
	}
	text := func(attrs []slog.Attr) string { // with types
		var b strings.Builder
		for _, a := range attrs {
			a = replace(a)
			fmt.Fprintf(&b, "%s=%T %v, ", a.Key, a.Value.Any(), a.Value.Any())
		}
		return b.String()
	}
	var lines []string
	for _, s := range spans {
		parent, known := names[s.ParentID]
		if !known {
			parent = s.ParentID.String()
		}
		line := fmt.Sprintf("%s %s: service %s trace %s parent %s remote %v flags %d state %q times %s %s status %v dropped %d %d %d\n scope %s %s %s %s\n %s",
			s.Name, s.Kind, s.Service, traces[s.TraceID], parent, s.Remote, s.Flags&^dendro.FlagRandom, s.State, when(s.Start), when(s.End), s.Status,
			s.DroppedAttributes, s.DroppedEvents, s.DroppedLinks, s.Scope.Name, s.Scope.Version, s.Scope.SchemaURL, text(s.Scope.Attributes), text(s.Attributes))
		for _, e := range s.Events {
			line += fmt.Sprintf("\n event %s %s %s %d", e.Name, when(e.Time), text(e.Attributes), e.DroppedAttributes)
		}
		for _, l := range s.Links {
			line += fmt.Sprintf("\n link %s %d %q %s %d", names[l.SpanID], l.Flags&^dendro.FlagRandom, l.State, text(l.Attributes), l.DroppedAttributes)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
