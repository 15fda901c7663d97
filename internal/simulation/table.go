package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// String returns a table.
func (r *Result) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("requests", "%d in %.1f s, of which %d are judged, seed %d", r.Requests, r.Lasted.Seconds(), r.Judged, r.Seed)
	row("services, processes", "%d, %d, of which %d were killed", r.Services, r.Processes, r.Restarted)
	row("local traces, spans", "%.1f and %.1f a request", r.Examined.locals(), r.Examined.spans())
	row("kept", "%.2f %% of the traces; by reason (and spans each): %s", r.kept(), reasons(r.Reasons))
	row("kept traces that are whole", "%s; others by reason: %v", r.Kept.text(), r.Partial)
	row("errors whole", "%s", r.Errors.compared())
	row("  only in a late consumer", "%s", r.LateErrors.text())
	row("slowest 1 % whole", "%s", r.SlowAll.compared())
	for _, o := range r.Slow {
		row("  "+o.Name, "%s; %d requests, from %v on", o.compared(), o.Requests, o.Slow.Round(time.Millisecond))
	}
	row("slowest 1 % of inner operations", "%s; that is %.0f %% of all traces", r.Inner.text(), 100*float64(r.Inner.All+r.Inner.Lost)/float64(max(r.Examined.Traces, 1)))
	row("bytes of spans, OTLP", "%s of %s: %.2f %%", size(r.Bytes), size(r.AllBytes), 100*float64(r.Bytes)/float64(max(r.AllBytes, 1)))
	row("  with gzip", "%s of %s: %.2f %%; ratios %.3f and %.3f", size(r.Wire), size(r.AllWire), 100*float64(r.Wire)/float64(max(r.AllWire, 1)),
		float64(r.Wire)/float64(max(r.Bytes, 1)), float64(r.AllWire)/float64(max(r.AllBytes, 1)))
	row("  other messages", "announcements and reports %s, news %s, counts of operations %s", size(r.Messages), size(r.News), size(r.Operations))
	row("  errors and slowest 1 % alone", "%.1f spans each: %.2f %% of all spans", r.Wanted.spans(), r.wanted())
	row("sent twice", "%d spans", r.Duplicates)
	row("announced to whole", "p50 %v, p90 %v, p99 %v", r.after(0.5), r.after(0.9), r.after(0.99))
	if r.MinAge > 0 {
		row("full rings reach back", "%v or more", r.MinAge.Round(time.Millisecond))
	}
	row("lost", "%d messages; traces in part: %v; spans: %v", r.LostMessages, r.Lost, r.Dropped)
	row("most in a process", "%s of %s of ring; %d traces pending, %d unannounced, %d remembered, %s queued",
		size(r.MaxRing), size(r.RingBound), r.MaxPending, r.MaxUnannounced, r.MaxRemembered, size(int64(r.MaxQueue)))
	if r.StormAll.Traces > 0 {
		row("storm", "%d of %d kept, whole %s; %.1f spans each, of all %.1f", r.StormKept.Traces, r.StormAll.Traces, r.InStorm.text(), r.StormKept.spans(), r.StormAll.spans())
	}
	_ = w.Flush()
	return text.String()
}

func (s Share) text() string {
	lost := ""
	if s.Lost > 0 {
		lost = fmt.Sprintf(", and %d with a process that was killed", s.Lost)
	}
	return fmt.Sprintf("%.2f %% of %d%s", 100*s.Part(), s.All, lost)
}

func (s Share) compared() string {
	return fmt.Sprintf("%s (at random: %.2f %%)", s.text(), 100*float64(s.Head)/float64(max(s.All, 1)))
}

// locals and spans return the mean of a trace.
func (s Size) locals() float64 { return float64(s.Locals) / float64(max(s.Traces, 1)) }
func (s Size) spans() float64  { return float64(s.Spans) / float64(max(s.Traces, 1)) }

// wanted returns how many percent of all spans those of Wanted are.
func (r *Result) wanted() float64 {
	return 100 * float64(r.Wanted.Spans) / max(float64(r.Judged)*r.Examined.spans(), 1)
}

// kept returns how many percent of the traces that are judged are kept.
func (r *Result) kept() float64 {
	n := 0
	for _, size := range r.Reasons {
		n += size.Traces
	}
	return 100 * float64(n) / float64(max(r.Judged, 1))
}

// after returns a quantile of WholeAfter.
func (r *Result) after(q float64) time.Duration {
	if len(r.WholeAfter) == 0 {
		return 0
	}
	return r.WholeAfter[int(q*float64(len(r.WholeAfter)-1))].Round(time.Millisecond)
}

func reasons(counts map[string]Size) string {
	var out []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		n := counts[reason]
		if reason == "" {
			reason = "sampled"
		}
		out = append(out, fmt.Sprintf("%s %d (%.0f)", reason, n.Traces, n.spans()))
	}
	return strings.Join(out, ", ")
}

func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
}
