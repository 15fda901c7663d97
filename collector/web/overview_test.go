package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestFormatChange(t *testing.T) {
	for _, c := range []struct {
		now, before float64
		want        string
		more        bool
	}{
		{10, 0, "", false}, {10, 10, "", false}, {10.5, 10, "", false}, {13, 10, "+30 %", true}, {11.5, 10, "+15 %", false},
		{5, 10, "-50 %", false}, {30, 10, "3.00 ×", true}, {0, 10, "-100 %", false},
	} {
		text, more := formatChange(c.now, c.before)
		testkit.Equal(t, fmt.Sprint(c.now, " after ", c.before), fmt.Sprint(text, more), fmt.Sprint(c.want, c.more))
	}
}

func TestFormatRate(t *testing.T) {
	for n, want := range map[float64]string{0: "0.00 /h", 1: "1.00 /h", 59: "59.0 /h", 60: "1.00 /min", 3600: "1.00 /s", 360_000: "100 /s"} {
		testkit.Equal(t, fmt.Sprint(n), formatRate(n, time.Hour), want)
	}
}

func TestHeatmap(t *testing.T) {
	start := time.Unix(1_700_000_040, 0)
	testkit.Equal(t, "of nothing", newHeatmap(start, time.Minute, make([]collector.Histogram, 3)) == nil, true)
	points := make([]collector.Histogram, 3)
	points[1].Add(100*time.Millisecond, 1000)
	points[2].Add(time.Millisecond, 1)
	h := newHeatmap(start, time.Minute, points)
	// A row is a quarter of a power of two, and there is one more above and below.
	testkit.Equal(t, "height", h.Height, 1+(collector.BucketOf(100*time.Millisecond)/2)-(collector.BucketOf(time.Millisecond)/2)+2)
	testkit.Equal(t, "width", h.Width, 3)
	testkit.Equal(t, "many", h.Levels[heatLevels-1], "M1 1h1v1h-1z")
	testkit.Equal(t, "one", h.Levels[0], fmt.Sprintf("M2 %dh1v1h-1z", h.Height-2))
	testkit.Equal(t, "ticks", fmt.Sprint(h.Ticks[0].Text, h.Ticks[len(h.Ticks)-1].Text), "1ms100ms")
}

// mapOf draws edges like "a>b".
func mapOf(edges ...string) *serviceMap {
	m := &serviceMap{}
	for i, e := range edges {
		node := func(name byte) collector.Node { return collector.Node{Kind: collector.NodeService, Name: string(name)} }
		m.Edges = append(m.Edges, mapEdge{from: m.node(node(e[0])), to: m.node(node(e[2])), count: float64(100 - i)})
	}
	m.busiest()
	m.layers()
	m.order()
	m.place()
	return m
}

func TestServiceMap(t *testing.T) {
	for _, test := range []struct {
		edges []string
		want  string // layer of each node by name
	}{
		{[]string{"a>b"}, "a0 b1"},
		{[]string{"a>b", "b>c", "a>c"}, "a0 b1 c2"},
		{[]string{"b>c", "a>b"}, "a0 b1 c2"},
		{[]string{"a>b", "b>a"}, "a0 b1"},
		{[]string{"a>a"}, "a0"},
		{[]string{"a>b", "b>c", "c>b", "c>d"}, "a0 b1 c2 d3"},
		{[]string{"a>c", "b>c", "c>d", "c>e"}, "a0 b0 c1 d2 e2"},
	} {
		m := mapOf(test.edges...)
		layers := map[string]int{}
		for i, n := range m.Nodes {
			layers[n.Name] = n.layer
			if n.X < 0 || n.Y < 0 || n.X+nodeWidth > m.Width || n.Y+nodeHeight > m.Height {
				t.Errorf("%v: %s is outside", test.edges, n.Name)
			}
			for _, o := range m.Nodes[:i] {
				if n.X == o.X && n.Y < o.Y+nodeHeight && o.Y < n.Y+nodeHeight {
					t.Errorf("%v: %s covers %s", test.edges, n.Name, o.Name)
				}
			}
		}
		got := ""
		for name := 'a'; name <= 'e'; name++ {
			if layer, ok := layers[string(name)]; ok {
				got += fmt.Sprintf(" %c%d", name, layer)
			}
		}
		testkit.Equal(t, fmt.Sprint(test.edges), got[1:], test.want)
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("%c>%c", 'A'+i%26, 'A'+i*7%26))
	}
	m := mapOf(many...)
	testkit.Equal(t, "edges", fmt.Sprint(len(m.Edges), " ", m.More), "60 140")
}

// The link of an operation finds its spans, whatever its names are.
func TestQueryOf(t *testing.T) {
	for _, name := range []string{"GET /", "", " ", "\u2028", `"\`, "a\nb\x00", "\xff", strings.Repeat("ä", 1000), strings.Repeat("(", 1000)} {
		s := collector.Span{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", name)}}}
		s.SpanData.Name, s.Kind, s.Scope = name, dendro.KindServer, &dendro.Scope{}
		cut := strings.ToValidUTF8(name[:min(len(name), 256)], "")
		if len(name) <= 256 {
			cut = name
		}
		text := queryOf(&collector.Operation{Service: cut, Name: cut, Kind: dendro.KindServer})
		q, err := traceql.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if name == "" {
			s.Resource = &dendro.Resource{}
		}
		found := q.Evaluate(&traceql.Trace{Trace: &collector.Trace{Spans: []collector.Span{s}}})
		if len(found) != 1 {
			t.Errorf("%.60s does not find its span", text)
		}
		s.Kind = dendro.KindClient
		if found := q.Evaluate(&traceql.Trace{Trace: &collector.Trace{Spans: []collector.Span{s}}}); len(found) != 0 {
			t.Errorf("%.60s finds a client span", text)
		}
	}
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{1.5: "1.5", math.Inf(1): `"Infinity"`, math.Inf(-1): `"-Infinity"`, math.NaN(): `"NaN"`} {
		got, err := json.Marshal(number(f))
		testkit.NoError(t, err)
		testkit.Equal(t, fmt.Sprint(f), string(got), want)
	}
}

// The map leads to the traces of a service whose name is so long that counts have only its beginning.
func TestServiceMapLongName(t *testing.T) {
	long := strings.Repeat("x", 256)
	m := &serviceMap{}
	m.node(collector.Node{Kind: collector.NodeService, Name: long})
	q, err := url.ParseQuery(strings.TrimPrefix(m.Nodes[0].Query, "?"))
	testkit.NoError(t, err)
	query, err := traceql.Parse(q.Get("q"))
	testkit.NoError(t, err)
	r := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", long+" and more")}}
	found := query.Evaluate(&traceql.Trace{Trace: &collector.Trace{Spans: []collector.Span{{Resource: r}}}})
	testkit.Equal(t, "found", len(found), 1)
}
