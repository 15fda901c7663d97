package web

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/keep"
)

const (
	// settleTime is how long after its announcement a kept trace should be whole, and forgetTime is when a store may have
	// dropped it again.
	settleTime = 5 * time.Second
	forgetTime = 15 * time.Minute
	// maxSettled bounds the kept traces that are looked at, and maxArriving those besides that may not be whole yet.
	maxSettled  = 100
	maxArriving = 20
	// longestKept is how long before its announcement a trace may have begun.
	longestKept = 6 * time.Hour
)

// keptTrace is a trace that is kept, and what the store has of it.
type keptTrace struct {
	keep.Kept
	RootService string        `json:"rootService,omitempty"`
	RootName    string        `json:"rootName,omitempty"` // of the root, or else of the earliest span
	Duration    time.Duration `json:"duration"`
	Spans       int           `json:"spans"`
	// Missing says what the store does not have: "" if the trace is whole.
	Missing string `json:"missing,omitempty"`
	// Unread says that so many spans were read for others that the store was not asked.
	Unread bool `json:"unread,omitempty"`
}

// coherence says how many kept traces are whole: those with a root, and with the parent of each span. Only those count
// that are older than settleTime and younger than forgetTime. A call whose server has sent nothing at all cannot be seen.
type coherence struct {
	Traces int `json:"traces"`
	Whole  int `json:"whole"`
}

// Share returns the share of the traces that are whole.
func (c coherence) Share() float64 { return float64(c.Whole) / float64(c.Traces) }

// keptTraces returns the traces that were kept last, the newest first, and how many of them are whole.
func (h *handler) keptTraces(ctx context.Context) (out []keptTrace, whole coherence, err error) {
	now := time.Now()
	var ids []dendro.TraceID
	settled := 0
	for _, k := range h.keep.Kept() {
		if now.Sub(k.Time) < settleTime {
			if len(out) == maxArriving {
				continue
			}
		} else if settled++; settled > maxSettled {
			break
		}
		out, ids = append(out, keptTrace{Kept: k, Missing: "not found"}), append(ids, k.TraceID)
	}
	if len(out) == 0 {
		return []keptTrace{}, whole, nil
	}
	byID := map[dendro.TraceID]*keptTrace{}
	for i := range out {
		byID[out[i].TraceID] = &out[i]
	}
	spans, cut := 0, false
	when := collector.TimeRange{Start: out[len(out)-1].Time.Add(-longestKept)}
	err = collector.Traces(ctx, h.store, ids, when, func(t *collector.Trace) bool {
		if k := byID[t.ID]; k != nil && len(t.Spans) > 0 {
			k.read(t)
		}
		spans += len(t.Spans)
		cut = spans >= inspectedSpans
		return !cut
	})
	for i := range out {
		k := &out[i]
		k.Unread = cut && k.Spans == 0
		if age := now.Sub(k.Time); settleTime <= age && age < forgetTime && !k.Unread {
			whole.Traces++
			if k.Missing == "" {
				whole.Whole++
			}
		}
	}
	return out, whole, err
}

// read notes what the store has of the trace.
func (k *keptTrace) read(t *collector.Trace) {
	known := make(map[dendro.SpanID]bool, len(t.Spans))
	for i := range t.Spans {
		known[t.Spans[i].SpanID] = true
	}
	missing := map[dendro.SpanID]bool{}
	for i := range t.Spans {
		if p := t.Spans[i].ParentID; p.IsValid() && !known[p] {
			missing[p] = true
		}
	}
	sum := t.Summary()
	k.Spans, k.Duration = sum.Spans, sum.Duration
	k.RootService, k.RootName = short(sum.RootService), short(sum.RootName)
	var parts []string
	if sum.RootMissing {
		parts = append(parts, "root")
	}
	switch n := len(missing); n {
	case 0:
	case 1:
		parts = append(parts, "1 parent")
	default:
		parts = append(parts, fmt.Sprintf("%s parents", formatCount(n)))
	}
	k.Missing = strings.Join(parts, ", ")
}
