package web

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
)

// maxReasons bounds the reasons of a trace that its page shows.
const maxReasons = 8

// reason is why a trace was kept.
type reason struct {
	Text    string
	Service string  // of the process that has decided it, or ""
	Weight  float64 // number of traces for which it stands, or 0 if that is not known
}

// aboutReasons says what the reasons of package keep mean. Others are those of rules, or of the program.
var aboutReasons = map[string]string{
	keep.ReasonError:     "A span has an error.",
	keep.ReasonNew:       "It was the first of its operation in a process.",
	keep.ReasonSlow:      "It is among the slowest of its operation.",
	keep.ReasonRepeats:   "A statement was repeated.",
	keep.ReasonPoolWait:  "It waited long for a connection to a database.",
	keep.ReasonAttribute: "A span has an attribute that is looked for.",
	keep.ReasonOrdinary:  "It is the ordinary one of its operation in a minute.",
	keep.ReasonRequest:   "Somebody has asked for it.",
	keep.ReasonHold:      "Everything was kept at that time.",
}

// About says what the reason means. It is "" for a reason that says so itself.
func (r reason) About() string { return aboutReasons[r.Text] }

// Traces returns for how many traces it stands if these are several, and "" otherwise.
func (r reason) Traces() string {
	if r.Weight < 1.5 || r.Weight > math.MaxInt64 {
		return ""
	}
	return formatNumber(r.Weight)
}

// reasonsOf returns why processes have kept t, each reason of a service once.
func reasonsOf(t *collector.Trace) (out []reason) {
	for i := range t.Spans {
		s := &t.Spans[i]
		text := textAttribute(s.Attributes, dendro.KeepReason)
		r := reason{Text: short(text), Service: short(s.Resource.Service())}
		if text == "" || len(out) == maxReasons || slices.ContainsFunc(out, func(o reason) bool { return o.Text == r.Text && o.Service == r.Service }) {
			continue
		}
		for _, a := range s.Attributes {
			if a.Key == keep.WeightKey && a.Value.Kind() == slog.KindFloat64 {
				r.Weight = a.Value.Float64()
			}
		}
		out = append(out, r)
	}
	return out
}

// keeping is what the page of a trace says about keeping it.
type keeping struct {
	Reasons []reason
	Sampled bool // when it began, and for no other reason
	// Hub is what processes that keep their spans have heard of the trace. It is nil if there is none.
	Hub *heard
}

// Waiting is that of Hub.
func (k keeping) Waiting() bool { return k.Hub.Waiting() }

// CanAsk reports whether it makes sense to ask processes for more of the trace.
func (k keeping) CanAsk() bool { return k.Hub != nil && k.Hub.Processes > 0 && !k.Hub.Known }

// heard is what processes that keep their spans have heard of a trace.
type heard struct {
	ID        dendro.TraceID
	Processes int
	RingAge   time.Duration // all of them still have the spans since then
	Known     bool          // they were asked for the trace
	At        time.Time     // when they were asked, or zero if that is long ago
}

// patience is how long a trace that was asked for is waited for.
const patience = 30 * time.Second

// Waiting reports whether processes were asked just now, so that spans may come any moment.
func (h *heard) Waiting() bool { return h != nil && h.Known && time.Since(h.At) < patience }

// hear returns what processes have heard of a trace.
func (h *handler) hear(id dendro.TraceID) (*heard, keep.Kept) {
	if h.keep == nil {
		return nil, keep.Kept{}
	}
	stats := h.keep.Stats()
	k, known := h.keep.Find(id)
	return &heard{ID: id, Processes: len(stats.Processes), RingAge: stats.RingAge(), Known: known, At: k.Time}, k
}

// keepingOf returns what the page says about a trace whose root is root.
func (h *handler) keepingOf(t *collector.Trace, root *collector.Span) keeping {
	k := keeping{Reasons: reasonsOf(t)}
	var announced keep.Kept
	k.Hub, announced = h.hear(t.ID)
	switch {
	case k.Reasons != nil:
	case announced.Reason != "": // by somebody, or by a process whose spans have not arrived
		k.Reasons = []reason{{Text: announced.Reason, Service: announced.Service}}
	default:
		k.Sampled = k.Hub != nil && root.Flags.Sampled()
	}
	return k
}

// reasonCount says how many traces were kept for a reason.
type reasonCount struct {
	reason
	Count uint64
	Query string // of the list with its traces
}

// countsByReason returns counts with the largest first.
func countsByReason(counts map[string]uint64) (out []reasonCount) {
	for text, n := range counts {
		c := reasonCount{reason: reason{Text: text}, Count: n}
		if text != keep.ReasonRequest { // which no span has
			c.Query = "{ span." + dendro.KeepReason + " = " + strconv.Quote(text) + " }"
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b reasonCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return out
}
