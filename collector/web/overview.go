package web

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// overviewPage is the start page: what the services did in a window that ends now.
type overviewPage struct {
	frame
	Windows []choice
	Kinds   []choice
	Orders  []choice
	Start   time.Time
	Since   time.Duration

	Operations []operationRow
	More       int // operations that are not shown
	Heatmap    *heatmap
	Map        *serviceMap
	Errors     []errorKind
	Notes      []string // what the numbers miss
}

// choice is a link that changes a parameter of the page.
type choice struct {
	Text, Query string
	Chosen      bool
}

// operationRow is a line of the table of operations.
type operationRow struct {
	Service, Name, Kind string
	Other               bool
	Query               string // of the list with its traces
	Profile             string // link to a CPU profile, or ""
	Rate                string
	Errors              float64 // share of the spans, from 0 to 1
	P50, P90, P99       time.Duration
	Total               time.Duration
	Spark               string // path of a chart of 100 x 20
	RateChange          string // against the window before
	P99Change           string
	Slower              bool

	count float64
}

// chosen has the parameters of a page with links that change them.
type chosen map[string]string

// chosenOf returns the parameters in form, or else the given ones.
func chosenOf(form url.Values, defaults map[string]string) chosen {
	for key := range defaults {
		defaults[key] = cmp.Or(form.Get(key), defaults[key])
	}
	return defaults
}

// choices returns links that set key. pairs are values and texts in turn.
func (c chosen) choices(key string, pairs ...string) (out []choice) {
	for i := 0; i < len(pairs); i += 2 {
		other := url.Values{}
		for k, v := range c {
			if v != "" {
				other.Set(k, v)
			}
		}
		other.Set(key, pairs[i])
		out = append(out, choice{pairs[i+1], "?" + other.Encode(), c[key] == pairs[i]})
	}
	return out
}

// windows are the choices for the parameter since.
var windows = []struct {
	value, text string
	time.Duration
}{{"15m", "15 min", 15 * time.Minute}, {"1h", "1 h", time.Hour}, {"6h", "6 h", 6 * time.Hour}, {"24h", "24 h", 24 * time.Hour}}

// windows returns the links of the parameter since and its value, which is the shortest window
// if it is none of these.
func (c chosen) windows() ([]choice, time.Duration) {
	since := windows[0].Duration
	var pairs []string
	for _, w := range windows {
		pairs = append(pairs, w.value, w.text)
		if c["since"] == w.value {
			since = w.Duration
		}
	}
	return c.choices("since", pairs...), since
}

const (
	sparkPoints   = 60
	maxOperations = 50
)

// isOverview reports whether a request for the mount point asks for the overview, and not for
// a list of traces.
func isOverview(form url.Values) bool {
	for key := range form {
		if key != "since" && key != "kind" && key != "order" {
			return false
		}
	}
	return true
}

// overview serves the start page.
func (h *handler) overview(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	now := h.now()
	p := overviewPage{frame: h.frame(r.Context(), "./", "Overview")}
	chosen := chosenOf(form, map[string]string{"since": h.since, "kind": "entry", "order": "time"})
	p.Windows, p.Since = chosen.windows()
	p.Kinds = chosen.choices("kind", "entry", "Requests", "client", "Calls", "all", "All spans")
	p.Orders = chosen.choices("order", "time", "Total time", "rate", "Rate", "errors", "Errors", "p99", "p99")
	p.Start = now.Add(-p.Since)
	step := p.Since / sparkPoints

	var kinds []dendro.Kind // none for all
	switch chosen["kind"] {
	case "entry":
		kinds = []dendro.Kind{dendro.KindServer, dendro.KindConsumer}
	case "client":
		kinds = []dendro.Kind{dendro.KindClient, dendro.KindProducer}
	}
	wanted := func(o *collector.Operation) bool { return o.Other || kinds == nil || slices.Contains(kinds, o.Kind) }
	status := http.StatusOK
	err := h.countOperations(r.Context(), &p, now, step, wanted)
	if p.Heatmap != nil {
		for i, kind := range kinds {
			p.Heatmap.Kinds += []string{"", " || "}[min(i, 1)] + "kind = " + kind.String()
		}
	}
	if err == nil {
		p.Map, err = h.serviceMap(r.Context(), collector.OperationScan{Start: p.Start, End: now}, p.Since)
	}
	if err == nil {
		p.Errors, err = h.errorKinds(r.Context(), p.Start)
	}
	if err != nil {
		status, p.StoreProblem = http.StatusInternalServerError, err.Error()
	}
	sortOperations(p.Operations, chosen["order"])
	if n := len(p.Operations); n > maxOperations {
		p.Operations, p.More = p.Operations[:maxOperations], n-maxOperations
	}
	p.Notes = notes(p.Store.Operations, p.Start)
	render(w, status, "overview.html", p)
}

// countOperations fills in the operations and the heatmap of p.
func (h *handler) countOperations(ctx context.Context, p *overviewPage, now time.Time, step time.Duration, wanted func(*collector.Operation) bool) error {
	type before struct {
		count float64
		p99   time.Duration
	}
	type key struct {
		service, name string
		kind          dendro.Kind
	}
	earlier := map[key]before{}
	scan := collector.OperationScan{Start: p.Start.Add(-p.Since), End: p.Start}
	err := h.store.Operations(ctx, scan, func(o *collector.Operation) bool {
		if wanted(o) && !o.Other {
			earlier[key{o.Service, o.Name, o.Kind}] = before{o.Total.Spans, o.Total.Durations.Quantile(.99)}
		}
		return true
	})
	if err != nil {
		return err
	}
	scan = collector.OperationScan{Start: p.Start, End: now, Step: step}
	first, step, n := scan.Points()
	all := make([]collector.Histogram, n)
	err = h.store.Operations(ctx, scan, func(o *collector.Operation) bool {
		if !wanted(o) {
			return true
		}
		d := &o.Total.Durations
		row := operationRow{
			Service: o.Service, Name: o.Name, Kind: o.Kind.String(), Other: o.Other, count: o.Total.Spans,
			Rate: formatRate(o.Total.Spans, p.Since), Errors: o.Total.Errors / o.Total.Spans,
			P50: d.Quantile(.5), P90: d.Quantile(.9), P99: d.Quantile(.99), Total: d.Sum(), Spark: spark(o.Points), Profile: h.profileOf(o),
			Query: "?" + url.Values{"q": {queryOf(o)}, "start": {strconv.FormatInt(p.Start.Unix(), 10)}}.Encode(),
		}
		if was, ok := earlier[key{o.Service, o.Name, o.Kind}]; ok && !o.Other {
			row.RateChange, _ = formatChange(o.Total.Spans, was.count)
			row.P99Change, row.Slower = formatChange(float64(row.P99), float64(was.p99))
		}
		p.Operations = append(p.Operations, row)
		for i := range all {
			all[i].Merge(&o.Points[i].Durations)
		}
		return true
	})
	p.Heatmap = newHeatmap(first, step, all)
	return err
}

// queryOf returns the query for the spans of an operation.
func queryOf(o *collector.Operation) string {
	service := "= nil"
	if o.Service != "" {
		service = is(o.Service)
	}
	return fmt.Sprintf("{ resource.service.name %s && name %s && kind = %s }", service, is(o.Name), o.Kind)
}

// is returns the condition for a text that was counted. Counts have the beginning of a long one.
func is(text string) string {
	const long = 250
	if len(text) < long {
		return "= " + strconv.Quote(text)
	}
	return "=~ " + strconv.Quote(regexp.QuoteMeta(text)+"(?s:.*)")
}

func sortOperations(rows []operationRow, order string) {
	slices.SortStableFunc(rows, func(a, b operationRow) int {
		switch order {
		case "rate":
			return cmp.Compare(b.count, a.count)
		case "errors":
			return cmp.Compare(b.Errors*b.count, a.Errors*a.count)
		case "p99":
			return cmp.Compare(b.P99, a.P99)
		}
		return cmp.Compare(b.Total, a.Total)
	})
}

// notes says what the counts miss.
func notes(s collector.OperationStats, start time.Time) (out []string) {
	if s.Complete.After(start) {
		out = append(out, "Counts before "+s.Complete.UTC().Format("15:04 UTC")+" made room for newer ones.")
	}
	if s.OtherSpans > 0 {
		out = append(out, fmt.Sprintf("There are more operations or edges than can be kept apart: %s spans are counted as other.", formatCount(s.OtherSpans)))
	}
	if s.Late > 0 {
		out = append(out, fmt.Sprintf("%s spans came more than a day late and are not counted.", formatCount(s.Late)))
	}
	return out
}

// formatRate formats n in a time, by the second, the minute or the hour.
func formatRate(n float64, in time.Duration) string {
	for _, unit := range []struct {
		text string
		time.Duration
	}{{"/s", time.Second}, {"/min", time.Minute}, {"/h", time.Hour}} {
		if rate := n * float64(unit.Duration) / float64(in); rate >= 1 || unit.text == "/h" {
			return threeDigits(rate) + " " + unit.text
		}
	}
	return ""
}

// formatChange returns the change from before to now, such as "+35 %" or "3.0 ×", or "" if it is
// less than a tenth. more reports whether it is an increase by a fifth or more.
func formatChange(now, before float64) (text string, more bool) {
	ratio := now / before
	switch {
	case before <= 0 || math.Abs(ratio-1) < .1:
		return "", false
	case ratio >= 2:
		return threeDigits(ratio) + " ×", true
	}
	return fmt.Sprintf("%+.0f %%", 100*(ratio-1)), ratio >= 1.2
}

// spark returns the path of a chart of the number of spans, 100 wide and 20 high.
func spark(points []collector.Counts) string {
	most := 0.0
	for i := range points {
		most = max(most, points[i].Spans)
	}
	var b strings.Builder
	b.WriteString("M0 20")
	for i := range points {
		x := 100 * float64(i) / float64(len(points))
		fmt.Fprintf(&b, "L%.1f %.1fH%.1f", x, 20-20*points[i].Spans/max(most, 1), x+100/float64(len(points)))
	}
	b.WriteString("V20Z")
	return b.String()
}

// heatmap shows how many spans took how long, over time. Its cells are one wide and one high.
type heatmap struct {
	Start      int64 // Unix seconds
	Step       int64 // seconds
	Low        int   // number of the lowest row: of two buckets each
	Width      int
	Height     int
	Levels     []string // a path for each intensity
	Ticks      []tick
	From, To   time.Time
	MostInCell float64
	Kinds      string // condition for the spans
}

type tick struct {
	Text string
	Y    string // percent from the top
}

const (
	heatLevels    = 7
	bucketsPerRow = 2
)

// newHeatmap returns nil if there are no durations.
func newHeatmap(start time.Time, step time.Duration, points []collector.Histogram) *heatmap {
	h := &heatmap{Start: start.Unix(), Step: int64(step / time.Second), Width: len(points), From: start, To: start.Add(time.Duration(len(points)) * step)}
	low, high := math.MaxInt, -1
	cells := make([]map[int]float64, len(points))
	for x := range points {
		cells[x] = map[int]float64{}
		for bucket, n := range points[x].Buckets() {
			y := bucket / bucketsPerRow
			low, high = min(low, y), max(high, y)
			cells[x][y] += n
			h.MostInCell = max(h.MostInCell, cells[x][y])
		}
	}
	if high < 0 {
		return nil
	}
	low, high = max(0, low-1), high+1
	h.Low, h.Height = low, high-low+1
	levels := make([]strings.Builder, heatLevels)
	for x := range cells {
		for y := low; y <= high; y++ {
			if n := cells[x][y]; n > 0 {
				level := int(float64(heatLevels) * math.Log1p(n) / math.Log1p(h.MostInCell))
				fmt.Fprintf(&levels[min(level, heatLevels-1)], "M%d %dh1v1h-1z", x, high-y)
			}
		}
	}
	for i := range levels {
		h.Levels = append(h.Levels, levels[i].String())
	}
	h.Ticks = ticksOf(func(d time.Duration) float64 {
		return (float64(high+1) - float64(collector.BucketOf(d))/bucketsPerRow) / float64(h.Height)
	})
	return h
}

// ticksOf returns ticks for the powers of ten whose place, as a share of the height from the top, is
// inside.
func ticksOf(place func(time.Duration) float64) (out []tick) {
	for d := time.Microsecond; d <= time.Hour; d *= 10 {
		if y := place(d); y > 0 && y < 1 {
			out = append(out, tick{d.String(), formatPercent(y, 1)})
		}
	}
	return out
}
