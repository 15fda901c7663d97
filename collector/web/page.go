package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// frame has what both pages share.
type frame struct {
	// Root is the relative path from the page to the overview, and Live to that of the store, which
	// differs for an imported file.
	Root, Live   string
	File         string // the name of the imported file, or ""
	Page         string
	Title        string // what the page is about
	Store        collector.Stats
	StoreProblem string // why Store is not known
	Tracers      []tracer
	LogOut       bool // there are sessions to end
	Keeps        bool // there is a page of kept traces
	HasNow       bool // there is a page of what the program is doing now
}

// tracer is what the footer of a page shows about one tracer or about all of them.
type tracer struct {
	Name string
	dendro.Stats
}

func (h *handler) frame(ctx context.Context, root, title string) frame {
	f := frame{Root: root, Live: root, File: h.file, Page: title, Title: title, LogOut: h.sessions != nil, Keeps: h.keep != nil, HasNow: h.diagnostics != nil}
	if h.file != "" {
		f.Live += "../../"
	}
	var err error
	if f.Store, err = h.store.Stats(ctx); err != nil {
		f.StoreProblem = err.Error()
	}
	var all dendro.Stats
	for _, t := range h.tracers {
		s := t.Stats()
		all = all.Add(s)
		if len(h.tracers) <= maxTracers || s.DroppedSpans() > 0 {
			f.Tracers = append(f.Tracers, tracer{"Tracer " + t.Resource().Service(), s})
		}
	}
	if n := len(h.tracers); n > maxTracers {
		f.Tracers = slices.Insert(f.Tracers, 0, tracer{fmt.Sprintf("%d tracers", n), all})
	}
	return f
}

// maxTracers bounds how many tracers the footer shows individually. If there are more,
// it shows their sum and the tracers that lost spans.
const maxTracers = 2

type listPage struct {
	frame
	Form     url.Values
	Filtered bool // by anything but the limit
	Limit    int
	Problem  string // error in the form
	Services []string
	Traces   []traceql.Result
	Longest  time.Duration
	Drawn    map[dendro.TraceID][]bars
	Scatter  *scatter
	Chosen   []chosenCondition
	Facets   []facet
	Presets  []choice // comparisons
	Now      time.Time
	Wrong    *wrong // the query, if it cannot be parsed
}

// rootless is the text that the list shows for a trace without its root span.
type rootless struct{ Mark, Why string }

// rootWait is how long after the other spans the root of a trace is expected to
// arrive.
const rootWait = time.Minute

// Rootless returns nil if t has its root span.
func (p listPage) Rootless(t collector.Summary) *rootless {
	if !t.RootMissing {
		return nil
	}
	// The clock of a sender may be ahead of ours.
	if age := p.Now.Sub(time.Unix(0, t.Start).Add(t.Duration)); -rootWait < age && age < rootWait {
		return &rootless{"no root yet", "The root span has not been received yet. This is the earliest span of the trace."}
	}
	return &rootless{"root missing", "The root span has not been received: it was not sampled, was sent to another collector, " +
		"was lost, or has not ended. This is the earliest span of the trace."}
}

// pageLimit is the default number of traces on the list page.
const pageLimit = 50

// list serves the list of traces.
func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	q, err := parseSearch(form)
	if q.Limit == 0 {
		q.Limit = pageLimit
	}
	p := listPage{frame: h.frame(r.Context(), "./", "Traces"), Form: form, Limit: q.Limit, Now: time.Now()}
	for key := range form {
		p.Filtered = p.Filtered || key != "limit" && form.Get(key) != ""
	}
	status := http.StatusOK
	if err == nil {
		if p.Traces, _, err = q.Search(r.Context(), h.store, q.SearchOptions); err != nil {
			status = http.StatusInternalServerError
		}
	} else {
		status = http.StatusBadRequest
	}
	if err != nil {
		p.Problem, p.Wrong = err.Error(), wrongAt(strings.TrimSpace(form.Get("q")))
	}
	for _, t := range p.Traces {
		p.Longest = max(p.Longest, t.Duration)
	}
	if err == nil {
		var counts *tally
		p.Drawn, counts = h.readSpans(r.Context(), p.Traces)
		p.Scatter, p.Facets, p.Chosen = newScatter(p.Traces), facetsOf(p.Traces, counts, form), conditionsOf(form, q)
		p.Presets = presets(p.Traces, q, p.Now)
	}
	p.Services = h.services(r.Context())
	render(w, status, "list.html", p)
}

// wrong is a query that cannot be parsed, parted where the error is.
type wrong struct{ Before, Rest string }

// wrongAt returns where query is wrong, or nil if it is empty or can be parsed.
func wrongAt(query string) *wrong {
	at := (*traceql.Error)(nil)
	if _, err := traceql.Parse(query); query == "" || !errors.As(err, &at) {
		return nil
	}
	line := []rune(slices.Collect(strings.SplitSeq(query, "\n"))[at.Line-1])
	column := min(at.Column-1, len(line))
	w := &wrong{string(line[:column]), string(line[column:])}
	w.Rest = cmp.Or(w.Rest, " ") // the end of the query
	return w
}

// The services that the form suggests are those of the newest suggestTraces traces, or of
// suggestSpans spans.
const (
	suggestTraces = 1000
	suggestSpans  = 20_000
)

// services returns the services of the newest traces, sorted. It returns what it has found
// if there is an error: the filter also works without suggestions.
func (h *handler) services(ctx context.Context) []string {
	seen := map[string]bool{}
	_, _ = newest(ctx, h.store, collector.Scan{}, suggestTraces, suggestSpans, func(t *collector.Trace) {
		for i := range t.Spans {
			if name := t.Spans[i].Resource.Service(); name != "" && len(name) <= maxShown && !seen[name] {
				seen[strings.Clone(name)] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(seen))
}

type tracePage struct {
	frame
	Problem string // the reason why there is no trace
	Trace   *skeleton
	Name    string
	Service string
	Query   string // of the request, with its "?"
	Clocks  string // address of the page with the other choice of clocks, or "" for a file
	Keeping keeping
	Process diagnosis
}

// tracePage returns the page of t. root is the relative path to the mount point, or "" if the page
// is a file.
func (h *handler) tracePage(r *http.Request, root string, t *collector.Trace, straight bool) tracePage {
	p := tracePage{frame: h.frame(r.Context(), root, "Trace"), Trace: newSkeleton(t, straight)}
	p.Trace.explain(h.median(r.Context()))
	first := p.Trace.root()
	p.Name, p.Service = strings.ToValidUTF8(first.Name, "\uFFFD"), first.Resource.Service()
	p.Title = short(p.Name)
	p.Keeping = h.keepingOf(t, first)
	if root == "" {
		p.Keeping.Hub = nil // a file cannot ask
		return p
	}
	p.Process = h.diagnose(t.ID, t)
	p.Query = query(r)
	other := r.URL.Query()
	if other.Del("clocks"); !straight {
		other.Set("clocks", "straight")
	}
	p.Clocks = t.ID.String() + "?" + other.Encode()
	return p
}

// trace serves trace/{id}.
func (h *handler) trace(w http.ResponseWriter, r *http.Request, args []string) {
	const root = "../"
	t, status, err := h.lookUp(r, args[0])
	straight, bad := wantsStraight(r)
	if bad != nil {
		status, err = http.StatusBadRequest, bad
	}
	if err != nil {
		p := tracePage{frame: h.frame(r.Context(), root, "Trace"), Problem: err.Error()}
		if status == http.StatusNotFound {
			if id, err := parseTraceID(args[0]); err == nil {
				p.Keeping.Hub, _ = h.hear(id)
				p.Process = h.diagnose(id, nil)
			}
		}
		render(w, status, "trace.html", p)
		return
	}
	p := h.tracePage(r, root, t, straight)
	encoded := sync.OnceValue(func() []byte { return p.Trace.encode() })
	h.rowsOfPage.put(t.ID.String(), r.URL.RawQuery, encoded)
	render(w, status, "trace.html", p)
	// While the browser reads the page. What cannot be flushed is sent when this returns.
	_ = http.NewResponseController(w).Flush()
	encoded()
}

func render(w http.ResponseWriter, status int, name string, data any) {
	page, err := execute(name, data)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	writePage(w, status, page)
}

func execute(name string, data any) ([]byte, error) {
	var buf bytes.Buffer
	err := pages.ExecuteTemplate(&buf, name, data)
	return buf.Bytes(), err
}

func writePage(w http.ResponseWriter, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(page)
}

// Kept returns the query parameters that have no field in the form.
func (p listPage) Kept() []string {
	var keys []string
	for _, key := range []string{"start", "end", "maxDuration"} {
		if p.Form.Get(key) != "" {
			keys = append(keys, key)
		}
	}
	return keys
}
