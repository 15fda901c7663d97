package web

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// clocked parses lines of "id parent process kind start end", in milliseconds. Processes are
// letters, and a small letter is a context from another process with the same resource.
func clocked(t testing.TB, text string) *collector.Trace {
	t.Helper()
	resources := map[string]*dendro.Resource{}
	kinds := map[string]dendro.Kind{"server": dendro.KindServer, "client": dendro.KindClient, "failed": dendro.KindClient,
		"internal": dendro.KindInternal, "producer": dendro.KindProducer, "consumer": dendro.KindConsumer}
	trace := &collector.Trace{ID: dendro.TraceID{1}}
	for line := range strings.Lines(strings.TrimSpace(text)) {
		var s collector.Span
		var id, parent byte
		var process, kind string
		var from, to float64
		if _, err := fmt.Sscan(line, &id, &parent, &process, &kind, &from, &to); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		upper := strings.ToUpper(process)
		if resources[upper] == nil {
			resources[upper] = &dendro.Resource{}
		}
		s.Resource, s.Remote = resources[upper], process != upper
		s.SpanID, s.ParentID, s.Kind = dendro.SpanID{7: id}, dendro.SpanID{7: parent}, kinds[kind]
		s.Start, s.End = int64(from*1e6), int64(to*1e6)
		s.Events = []dendro.Event{{Time: s.Start}}
		if kind == "failed" {
			s.Status.Code = dendro.StatusError
		}
		trace.Spans = append(trace.Spans, s)
	}
	slices.SortStableFunc(trace.Spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
	return trace
}

func TestSkew(t *testing.T) {
	for _, test := range []struct{ name, spans, want string }{
		{"a server behind: in the middle", "1 0 A client 0 100\n2 1 B server -30 30\n3 2 B internal -20 0", "2 +50"},
		{"a server ahead, by its start", "1 0 A client 0 100\n2 1 B server 110 170", "2 -90"},
		{"a server ahead, by its end", "1 0 A client 0 100\n2 1 B server 50 110", "2 -30"},
		{"it fits", "1 0 A client 0 100\n2 1 B server 39 99", ""},
		{"rounded", "1 0 A client 0 100\n2 1 B server -0.001 60", ""},
		{"a server ends its span a little later", "1 0 A client 0 100\n2 1 B server 1 101", ""},
		{"a client that failed did not wait", "1 0 A failed 0 100\n2 1 B server 50 110", ""},
		{"but it called", "1 0 A failed 0 100\n2 1 B server -10 50", "2 +30"},
		{"only a client waits for a server", "1 0 A internal 0 100\n2 1 B server 50 110", ""},
		{"what is no server may outlive its parent", "1 0 A client 0 100\n2 1 B internal 50 110", ""},
		{"longer than its parent", "1 0 A client 0 100\n2 1 B server -30 130", "2 +30"},
		{"longer and begins later", "1 0 A client 0 100\n2 1 B server 10 130", ""},
		{"longer and rounded", "1 0 A client 0 100\n2 1 B server -0.001 130", ""},
		{"the same process", "1 0 A internal 0 100\n2 1 A internal -50 0", ""},
		{"the same resource, but another process", "1 0 A client 0 100\n2 1 a server -50 0", "2 +75"},
		{"producer", "1 0 A producer 0 10\n2 1 B internal -5 2", ""},
		{"consumer", "1 0 A internal 0 10\n2 1 B consumer -5 2", ""},
		{"without its parent", "2 1 B server -5 2", ""},
		{"a circle is cut at its first span", "1 2 A client 0 10\n2 1 B server -5 2", ""},
		{"cumulative", "1 0 A client 0 100\n2 1 B server 1010 1090\n3 2 B client 1020 1080\n4 3 C server 30 70", "2 -1000, 4 +1000"},
		{"one shift for one clock, also where it would fit without", `
1 0 A internal 0 1000
2 1 A client 0 100
3 2 B server -40 50
4 1 A client 200 300
5 4 B server 165 245
6 1 A client 400 600
7 6 B server 450 500
`, "3 +45, 5 +45, 7 +45"},
		{"so that what fitted still does", "1 0 A internal 0 1000\n2 1 A client 0 100\n3 2 B server -40 50\n4 1 A client 200 300\n5 4 B server 210 258", "3 +41, 5 +41"},
		{"no shift fits: several processes", `
1 0 A internal 0 1000
2 1 A client 0 100
3 2 B server -40 50
4 1 A client 200 300
5 4 B server 240 330
6 1 A client 400 500
7 6 B server 405 495
`, "3 +45, 5 -35"},
		{"the other way are other clocks", `
1 0 A client 0 100
2 1 B server -40 40
3 2 B client -30 30
4 3 A server 20 60
`, "2 +50, 4 -40"},
	} {
		trace := clocked(t, test.spans)
		rows := layOut(trace.Spans)
		found := skewOf(rows)
		list := func(rows []row, of skew) string {
			var out []string
			for _, r := range rows {
				if shift, ok := of[r.span]; ok {
					out = append(out, fmt.Sprintf("%d %+g", r.id[7], float64(shift)/1e6))
				}
			}
			slices.Sort(out)
			return strings.Join(out, ", ")
		}
		testkit.Equal(t, test.name, list(rows, found), test.want)

		straight, applied := found.straighten(trace.ID, rows)
		rows = layOut(straight.Spans)
		testkit.Equal(t, test.name+": the same in what is straight", list(rows, applied), test.want)
		testkit.Equal(t, test.name+": nothing is left", list(rows, skewOf(rows)), "")
		for _, r := range rows {
			if r.span != nil && r.span.Events[0].Time != r.span.Start {
				t.Errorf("%s: events are not shifted", test.name)
			}
		}
	}
}

func TestStraighten(t *testing.T) {
	const spans = "1 0 A client 0 100\n2 1 B server -40 40\n3 2 B client -30 30\n4 3 C server -25 15\n5 1 A internal 5 8"
	trace := clocked(t, spans)
	recorded, straight := newSkeleton(trace, false), newSkeleton(trace, true)
	testkit.Equal(t, "recorded", draw(recorded.rows)+fmt.Sprint(recorded.Took(), recorded.Skew()), `1 0-100000000 self 60000000 size 5
  2 -40000000-40000000 self 20000000 size 3
    3 -30000000-30000000 self 20000000 size 2
      4 -25000000-15000000 self 40000000 size 1
  5 5000000-8000000 self 3000000 size 1
140ms 50ms`)
	testkit.Equal(t, "straight", draw(straight.rows)+fmt.Sprint(straight.Took(), straight.Skew()), `1 0-100000000 self 17000000 size 5
  5 5000000-8000000 self 3000000 size 1
  2 10000000-90000000 self 20000000 size 3
    3 20000000-80000000 self 20000000 size 2
      4 25000000-65000000 self 40000000 size 1
100ms 50ms`)
	for name, s := range map[string]*skeleton{"recorded": recorded, "straight": straight} {
		c := columnsOf(t, s)
		testkit.Equal(t, name, fmt.Sprint(c.SkewRow, c.SkewShift), map[string]string{"recorded": "[1] [50000000]", "straight": "[2] [50000000]"}[name])
	}
	for _, s := range trace.Spans {
		testkit.Equal(t, "events of the trace itself", s.Events[0].Time, s.Start)
	}
}

// FuzzRows lays out, straightens and encodes any spans: none is lost, and the rows are a tree.
func FuzzRows(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x02\x00\x00\x00\x09\x02\x01\x01\x01\xff\xff\x00\x05"))
	f.Add([]byte("\x01\x02\x00\x02\x00\x00\x00\x09\x02\x01\x13\x01\x00\x01\x00\x05\x02\x07\x01\x01\x00\x01\x00\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		resources := [4]dendro.Resource{}
		trace := &collector.Trace{ID: dendro.TraceID{1}}
		for ; len(data) >= 8; data = data[8:] {
			var s collector.Span
			s.SpanID, s.ParentID = dendro.SpanID{7: data[0] % 32}, dendro.SpanID{7: data[1] % 32}
			s.Resource, s.Remote, s.Kind = &resources[data[2]%4], data[2]&0x10 != 0, dendro.Kind(data[3]%6)
			s.Start = int64(int16(binary.BigEndian.Uint16(data[4:])))
			s.End = s.Start + int64(int16(binary.BigEndian.Uint16(data[6:])))
			if data[3]&0x80 != 0 { // far away
				s.Start, s.End = s.Start<<48, s.End<<48
			}
			if data[3]&0x40 != 0 {
				s.Name, s.Events = string(data), []dendro.Event{{Time: s.Start}}
			}
			trace.Spans = append(trace.Spans, s)
		}
		if len(trace.Spans) == 0 {
			return
		}
		slices.SortStableFunc(trace.Spans, func(a, b collector.Span) int { return cmp.Compare(a.Start, b.Start) })
		ids := func(rows []row) (out []string) {
			for i := range rows {
				if rows[i].span != nil {
					out = append(out, rows[i].span.SpanID.String())
				}
			}
			slices.Sort(out)
			return out
		}
		var want []string
		for i := range trace.Spans {
			want = append(want, trace.Spans[i].SpanID.String())
		}
		slices.Sort(want)
		for _, straight := range []bool{false, true} {
			s := newSkeleton(trace, straight)
			testkit.Equal(t, "spans", ids(s.rows), want)
			isTree(t, s.rows)
			columnsOf(t, s)
		}
	})
}

// isTree checks that parents come before their children, and subtrees one after another.
func isTree(t *testing.T, rows []row) {
	t.Helper()
	ends := []int{len(rows)} // of the subtrees that a row is in
	for i, r := range rows {
		for ends[len(ends)-1] <= i {
			ends = ends[:len(ends)-1]
		}
		if r.parent >= i || r.parent >= 0 && (i >= r.parent+rows[r.parent].size || r.depth != rows[r.parent].depth+1) || r.parent < 0 && r.depth != 0 ||
			r.size < 1 || r.depth != len(ends)-1 || i+r.size > ends[len(ends)-1] {
			t.Fatalf("row %d is no part of a tree: %+v", i, r)
		}
		ends = append(ends, i+r.size)
	}
}
