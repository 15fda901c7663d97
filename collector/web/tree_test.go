package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// spansOf parses lines of "id parent start end". Ids are numbers, and 0 means none.
func spansOf(t testing.TB, text string) []collector.Span {
	t.Helper()
	var out []collector.Span
	for line := range strings.Lines(strings.TrimSpace(text)) {
		var id, parent byte
		var s collector.Span
		if _, err := fmt.Sscan(line, &id, &parent, &s.Start, &s.End); err != nil {
			t.Fatal(err)
		}
		s.SpanID, s.ParentID = dendro.SpanID{7: id}, dendro.SpanID{7: parent}
		out = append(out, s)
	}
	return out
}

// draw formats rows as an indented tree: id, start-end, self time, size.
func draw(rows []row) string {
	var b strings.Builder
	for i, r := range rows {
		fmt.Fprintf(&b, "%s%d %d-%d self %d size %d", strings.Repeat("  ", r.depth), r.id[7], r.start, r.end, r.self, r.size)
		if r.span == nil {
			b.WriteString(" missing")
		}
		if r.cycle {
			b.WriteString(" cycle")
		}
		if r.twice {
			b.WriteString(" twice")
		}
		if isLate(rows, i) {
			b.WriteString(" late")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestLayOut(t *testing.T) {
	for _, test := range []struct{ name, spans, want string }{
		{"siblings in order, self time is what is left", `
1 0 0 100
2 1 10 30
3 2 12 20
4 1 40 60
`, `
1 0-100 self 60 size 4
  2 10-30 self 12 size 2
    3 12-20 self 8 size 1
  4 40-60 self 20 size 1
`},
		{"overlapping children count once", `
1 0 0 100
2 1 10 50
3 1 20 40
4 1 30 70
`, `
1 0-100 self 40 size 4
  2 10-50 self 40 size 1
  3 20-40 self 20 size 1
  4 30-70 self 40 size 1
`},
		{"children are clipped to the parent", `
2 1 0 20
1 0 10 50
3 1 45 90
4 1 60 95
`, `
1 10-50 self 25 size 4
  2 0-20 self 20 size 1
  3 45-90 self 45 size 1
  4 60-95 self 35 size 1 late
`},
		{"several roots", `
1 0 0 10
2 0 5 20
3 1 6 8
`, `
1 0-10 self 8 size 2
  3 6-8 self 2 size 1
2 5-20 self 15 size 1
`},
		{"a missing parent stands for what its children cover", `
1 0 0 10
2 9 3 8
3 9 5 30
4 2 4 5
`, `
1 0-10 self 10 size 1
9 3-30 self 0 size 4 missing
  2 3-8 self 4 size 2
    4 4-5 self 1 size 1
  3 5-30 self 25 size 1
`},
		{"its own parent", `
1 1 0 10
2 1 2 4
`, `
1 0-10 self 8 size 2 cycle
  2 2-4 self 2 size 1
`},
		{"a circle is cut at its first span, not at what hangs on it", `
4 2 0 1
1 3 5 20
2 1 6 10
3 2 7 8
`, `
1 5-20 self 11 size 4 cycle
  2 6-10 self 3 size 3
    4 0-1 self 1 size 1
    3 7-8 self 1 size 1
`},
		{"an id used twice", `
1 0 0 10
2 1 1 5
2 1 6 8
3 2 2 3
`, `
1 0-10 self 4 size 4
  2 1-5 self 3 size 2 twice
    3 2-3 self 1 size 1
  2 6-8 self 2 size 1 twice
`},
		{"children that begin after their parent has ended", `
1 0 0 10
2 1 10 20
3 1 11 12
4 9 50 60
5 4 61 62
`, `
1 0-10 self 10 size 3
  2 10-20 self 10 size 1
  3 11-12 self 1 size 1 late
9 50-60 self 0 size 3 missing
  4 50-60 self 10 size 2
    5 61-62 self 1 size 1 late
`},
		{"a span that ends before it begins takes no time", `
1 0 10 5
`, `
1 10-10 self 0 size 1
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, want := draw(layOut(spansOf(t, test.spans))), strings.TrimPrefix(test.want, "\n"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// manySpans returns a trace of n spans. parent returns the index of each span's
// parent.
func manySpans(n int, parent func(i int) int) *collector.Trace {
	tr := &collector.Trace{ID: dendro.TraceID{1}, Spans: make([]collector.Span, n)}
	id := func(i int) (id dendro.SpanID) {
		for b := range id {
			id[7-b] = byte((i + 1) >> (8 * b))
		}
		return id
	}
	for i := range tr.Spans {
		s := &tr.Spans[i]
		s.SpanID, s.Name, s.Start, s.End = id(i), fmt.Sprint("span ", i%100), int64(i), int64(2*n)
		if p := parent(i); p >= 0 {
			s.ParentID = id(p)
		}
	}
	return tr
}

// TestHugeTraces lays out shapes that a recursive or quadratic layout could not
// handle.
func TestHugeTraces(t *testing.T) {
	const n = 100_000
	for name, parent := range map[string]func(int) int{
		"star":   func(i int) int { return min(0, i-1) },
		"chain":  func(i int) int { return i - 1 },
		"circle": func(i int) int { return (i + n - 1) % n },
		"selves": func(i int) int { return i },
		"tree":   func(i int) int { return (i+9)/10 - 1 },
	} {
		began := time.Now()
		s := newSkeleton(manySpans(n, parent), false)
		spans := 0
		for i := range s.rows {
			if s.rows[i].span != nil {
				spans++
			}
		}
		testkit.Equal(t, name+": spans", spans, n)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

func BenchmarkSkeleton(b *testing.B) {
	t := manySpans(100_000, func(i int) int { return (i+9)/10 - 1 })
	for b.Loop() {
		newSkeleton(t, false)
	}
}
