package web

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
)

// keptPage shows which traces are kept, and what the processes have that decide it.
type keptPage struct {
	frame
	keep.HubStats
	Traces    []keptTrace
	Coherence coherence
	Problem   string
	now       time.Time
}

// Reasons returns how many traces were kept, by reason.
func (p keptPage) Reasons() []reasonCount { return countsByReason(p.HubStats.Kept) }

// Arriving reports whether more of a trace is expected.
func (p keptPage) Arriving(k keptTrace) bool { return p.now.Sub(k.Time) < settleTime }

// maxProcesses bounds the processes that are shown.
const maxProcesses = 20

// keeper is a process that keeps its spans.
type keeper struct{ keep.Process }

// Used returns how full its memory for spans is.
func (k keeper) Used() string {
	return cmp.Or(formatShare(float64(k.RingBytes)/float64(max(k.RingMaxBytes, 1))), "0 %")
}

// Waiting returns how many traces wait to be sent or announced.
func (k keeper) Waiting() int { return k.Pending + k.Unannounced }

// Busiest returns processes, those first that have lost most.
func (p keptPage) Busiest() (out []keeper) {
	for _, process := range p.Processes {
		out = append(out, keeper{process})
	}
	slices.SortStableFunc(out, func(a, b keeper) int { return cmp.Compare(sum(b.Lost), sum(a.Lost)) })
	return out[:min(len(out), maxProcesses)]
}

// More returns how many processes are not shown.
func (p keptPage) More() int { return max(0, len(p.Processes)-maxProcesses) }

// About says what the reason of a kept trace means, or "".
func (k keptTrace) About() string { return aboutReasons[k.Reason] }

// kept serves the page of kept traces.
func (h *handler) kept(w http.ResponseWriter, r *http.Request) {
	p := keptPage{frame: h.frame(r.Context(), "./", "Kept"), HubStats: h.keep.Stats(), now: time.Now()}
	status := http.StatusOK
	var err error
	if p.Traces, p.Coherence, err = h.keptTraces(r.Context()); err != nil {
		status, p.Problem = http.StatusInternalServerError, err.Error()
	}
	render(w, status, "kept.html", p)
}
