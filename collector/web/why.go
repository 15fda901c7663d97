package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// why is the sentence that says what took the time of a trace. Each phrase links to the spans
// that it counts.
type why []phrase

// phrase is a part of a sentence. Link is the fragment of a row of the page, or "".
type phrase struct{ Text, Link string }

const (
	// leastShare is the share of the duration from which a cause is named.
	leastShare = 0.2
	// maxCauses bounds the causes in the sentence.
	maxCauses = 3
	// muchSlower is how often the median a span must take for the sentence to say so.
	muchSlower = 2
)

// cause is what a part of the critical path has in common.
type cause struct {
	row  int // a span, a fold, or the first span that waited
	wait bool
	took int64
}

// median returns the median duration of an operation, or 0 if there are too few spans.
type median func(*collector.Span) time.Duration

// whySlow explains the duration of a trace. It is nil if there is only one span, or if no
// cause takes leastShare of the time. The rules:
//
//  1. Waits for a connection of the pool, on the critical path, are one cause.
//  2. So are the spans of a fold: repeated queries and calls.
//  3. Each other span is a cause, with its own time on the critical path.
//  4. The largest causes are named, at most maxCauses. A span with children is named for what it
//     does itself. A span without children is compared with the median of its operation.
func whySlow(rows []row, root int, path []segment, of median) why {
	if root < 0 || len(rows) < 2 {
		return nil
	}
	total := rows[root].end - rows[root].start
	causes := causesOf(rows, path)
	var out why
	add := func(text, link string) { out = append(out, phrase{text, link}) }
	for n, c := range causes[:min(len(causes), maxCauses)] {
		if float64(c.took) < leastShare*float64(total) {
			break
		}
		share := fmt.Sprintf("%s of %s", formatDuration(time.Duration(c.took)), formatDuration(time.Duration(total)))
		if n > 0 {
			add("; ", "")
			share = formatDuration(time.Duration(c.took))
		}
		r := &rows[c.row]
		switch {
		case c.wait:
			add(share+" wait for a ", "")
			add("connection of the pool", spanLink(r))
		case r.fold != nil:
			first := rows[c.row+1].span
			add(share+" are ", "")
			add(fmt.Sprintf("%d × %s", r.fold.spans, nameOf(first)), "#fold="+r.id.String())
			if oneAfterAnother(rows[c.row+1 : c.row+r.size]) {
				add(" one after another", "")
			}
			if r.fold.caller != "" {
				add(" ("+r.fold.caller+")", "")
			}
		case r.span == nil:
			add(share+" are below a ", "")
			add("span that has not arrived", spanLink(r))
		case r.size > 1:
			add(share+" are spent in ", "")
			add(nameOf(r.span)+" itself", spanLink(r))
			add(", outside of its child spans", "")
		default:
			add(share+" are ", "")
			add(nameOf(r.span), spanLink(r))
			if service := r.span.Resource.Service(); service != "" && rows[root].span != nil && service != rows[root].span.Resource.Service() {
				add(" of "+service, "")
			}
			if typical := of(r.span); typical > 0 && r.span.Duration() >= muchSlower*typical {
				add(fmt.Sprintf(", %.0f × slower than its median", float64(r.span.Duration())/float64(typical)), "")
			}
		}
	}
	return out
}

// oneAfterAnother reports whether no two of rows, which are ordered by start, overlap.
func oneAfterAnother(rows []row) bool {
	for i := 1; i < len(rows); i++ {
		if rows[i].start < rows[i-1].end {
			return false
		}
	}
	return true
}

func nameOf(s *collector.Span) string { return cmp.Or(s.Name, "unnamed span") }

func spanLink(r *row) string { return "#span=" + r.id.String() }

// causesOf returns the causes of the critical path, the largest first.
func causesOf(rows []row, path []segment) []cause {
	var wait cause
	byRow := map[int]*cause{}
	for _, s := range path {
		took := s.to - s.from
		if waited := waitIn(rows[s.row].span, s.from, s.to); waited > 0 {
			if !wait.wait {
				wait = cause{row: s.row, wait: true}
			}
			wait.took += waited
			took -= waited
		}
		at := s.row
		if p := rows[at].parent; p >= 0 && rows[p].fold != nil {
			at = p
		}
		if byRow[at] == nil {
			byRow[at] = &cause{row: at}
		}
		byRow[at].took += took
	}
	var out []cause
	for _, c := range byRow {
		out = append(out, *c)
	}
	if wait.wait {
		out = append(out, wait)
	}
	slices.SortFunc(out, func(a, b cause) int { return cmp.Or(cmp.Compare(b.took, a.took), cmp.Compare(a.row, b.row)) })
	return out
}

// waitIn returns how long s waited for a connection between from and to.
func waitIn(s *collector.Span, from, to int64) (waited int64) {
	if s == nil {
		return 0
	}
	for i := range s.Events {
		if e := &s.Events[i]; e.Name == semconv.PoolWaitEvent {
			waited += max(0, min(to, e.Time+int64(e.Duration))-max(from, e.Time))
		}
	}
	return max(0, min(waited, to-from))
}

// median returns the medians of operations in the hour before a trace ended.
func (h *handler) median(ctx context.Context) median {
	return func(s *collector.Span) (typical time.Duration) {
		_ = h.operationOf(ctx, s, func(c *collector.Counts) { typical = c.Durations.Quantile(.5) }) // without, it is not compared
		return typical
	}
}

// String returns the sentence as text.
func (w why) String() string {
	var b strings.Builder
	for _, p := range w {
		b.WriteString(p.Text)
	}
	return b.String()
}
