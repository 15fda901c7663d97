package web

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var shopResource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}

// tested returns a span of shop. Times are in milliseconds.
func tested(id, parent int, name string, from, to int64, attrs ...slog.Attr) collector.Span {
	s := collector.Span{Resource: shopResource}
	s.Scope = &dendro.Scope{}
	s.TraceID, s.SpanID, s.ParentID = dendro.TraceID{1}, dendro.SpanID{7: byte(id)}, dendro.SpanID{7: byte(parent)}
	s.Name, s.Start, s.End, s.Attributes = name, from*1e6, to*1e6, attrs
	return s
}

func TestCriticalPath(t *testing.T) {
	for _, test := range []struct {
		name  string
		spans []collector.Span
		want  string
	}{
		{"one span", []collector.Span{tested(1, 0, "a", 0, 10)}, "a 0-10"},
		{"one after another", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 1, 4), tested(3, 1, "c", 4, 9)}, "a 0-1, b 1-4, c 4-9, a 9-10"},
		{"at once: the last to end", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 1, 8), tested(3, 1, "c", 2, 9)}, "a 0-1, b 1-2, c 2-9, a 9-10"},
		{"at once, and one before", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 0, 3), tested(3, 1, "c", 4, 9), tested(4, 1, "d", 3, 8)}, "b 0-3, d 3-4, c 4-9, a 9-10"},
		{"children of children", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 1, 9), tested(3, 2, "c", 2, 8)}, "a 0-1, b 1-2, c 2-8, b 8-9, a 9-10"},
		{"a child outlives its parent", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 5, 20)}, "a 0-5, b 5-10"},
		{"a child begins after its parent has ended", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 1, "b", 12, 20)}, "a 0-10"},
		{"a child begins before its parent, by another clock", []collector.Span{tested(2, 1, "b", -5, 3), tested(1, 0, "a", 0, 10)}, "b 0-3, a 3-10"},
		{"two roots: the longer one", []collector.Span{tested(1, 0, "a", 0, 10), tested(2, 0, "b", 1, 20)}, "b 1-20"},
		{"the root is missing", []collector.Span{tested(2, 1, "b", 0, 3), tested(3, 1, "c", 5, 9)}, "b 0-3, ? 3-5, c 5-9"},
		{"a circle of parents", []collector.Span{tested(1, 2, "a", 0, 10), tested(2, 1, "b", 1, 9)}, "a 0-1, b 1-9, a 9-10"},
	} {
		rows := foldRepeats(layOut(test.spans))
		root, path := criticalPath(rows)
		got, at := "", rows[root].start
		for _, s := range path {
			name := "?"
			if rows[s.row].span != nil {
				name = rows[s.row].span.Name
			}
			if s.from != at {
				t.Errorf("%s: a gap from %d to %d", test.name, at, s.from)
			}
			at = s.to
			got += fmt.Sprintf(", %s %d-%d", name, s.from/1e6, s.to/1e6)
		}
		testkit.Equal(t, test.name, got[2:], test.want)
	}
}

func TestWhySlow(t *testing.T) {
	var loop []collector.Span
	for i := range 20 {
		loop = append(loop, tested(10+i, 1, "SELECT items", int64(40*i+20), int64(40*i+60), slog.String("db.query.text", "SELECT * FROM items WHERE id = ?")))
	}
	page := tested(1, 0, "GET /orders", 0, 900)
	page.Events = []dendro.Event{{Name: semconv.DBRepeatedEvent, Attributes: []slog.Attr{slog.String("db.query.text", "SELECT * FROM items WHERE id = ?"),
		slog.String("code.function.name", "main.items"), slog.String("code.file.path", "/src/orders.go"), slog.Int("code.line.number", 88)}}}
	waited := tested(2, 1, "SELECT a", 10, 700)
	waited.Events = []dendro.Event{{Name: semconv.PoolWaitEvent, Time: 10e6, Duration: 610 * time.Millisecond}}
	atOnce := append([]collector.Span{tested(1, 0, "GET /orders", 0, 900)}, func() (out []collector.Span) {
		for i := range 10 {
			out = append(out, tested(10+i, 1, "GET", int64(i), int64(800+i)))
		}
		return out
	}()...)
	other := tested(2, 1, "POST /charge", 100, 850)
	other.Resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "bank")}}

	for _, test := range []struct {
		name  string
		spans []collector.Span
		want  string
	}{
		{"repeated queries", append([]collector.Span{page}, loop...), "800 ms of 900 ms are 20 × SELECT items one after another (main.items, orders.go:88)"},
		{"a wait for the pool", []collector.Span{tested(1, 0, "GET /orders", 0, 900), waited}, "610 ms of 900 ms wait for a connection of the pool; 210 ms are spent in GET /orders itself, outside of its child spans"},
		{"calls at once", atOnce, "809 ms of 900 ms are 10 × GET"},
		{"some at once", append([]collector.Span{tested(1, 0, "GET /orders", 0, 100), tested(20, 1, "q", 80, 95)}, func() (out []collector.Span) {
			for i := range 5 {
				out = append(out, tested(10+i, 1, "q", 0, 10))
			}
			return out
		}()...), "75.0 ms of 100 ms are spent in GET /orders itself, outside of its child spans; 25.0 ms are 6 × q"},
		{"children that overlap", []collector.Span{tested(1, 0, "GET /", 0, 100), tested(2, 1, "B", 0, 60), tested(3, 1, "A", 50, 100)}, "50.0 ms of 100 ms are B; 50.0 ms are A"},
		{"a slow call", []collector.Span{tested(1, 0, "GET /orders", 0, 900), other}, "750 ms of 900 ms are POST /charge of bank, 4 × slower than its median"},
		{"many small spans", append([]collector.Span{tested(1, 0, "GET /orders", 0, 900)}, func() (out []collector.Span) {
			for i := range 10 {
				out = append(out, tested(10+i, 1, fmt.Sprint("step ", i), int64(90*i), int64(90*i+90)))
			}
			return out
		}()...), ""},
		{"the root itself", []collector.Span{tested(1, 0, "GET /orders", 0, 900), tested(2, 1, "SELECT", 1, 2)}, "899 ms of 900 ms are spent in GET /orders itself, outside of its child spans"},
		{"a missing root", []collector.Span{tested(2, 1, "b", 0, 300), tested(3, 1, "c", 700, 900)}, "400 ms of 900 ms are below a span that has not arrived; 300 ms are b; 200 ms are c"},
		{"one span", []collector.Span{tested(1, 0, "GET /orders", 0, 900)}, ""},
		{"no duration", []collector.Span{tested(1, 0, "GET /orders", 0, 0), tested(2, 1, "b", 0, 0)}, ""},
	} {
		rows := foldRepeats(layOut(test.spans))
		root, path := criticalPath(rows)
		got := whySlow(rows, root, path, func(s *collector.Span) time.Duration {
			if s.Name == "POST /charge" {
				return 190 * time.Millisecond
			}
			return 0
		})
		testkit.Equal(t, test.name, got.String(), test.want)
		for _, p := range got { // each link leads to a row
			if p.Link == "" {
				continue
			}
			found := false
			for i := range rows {
				kind := "span"
				if rows[i].fold != nil {
					kind = "fold"
				}
				found = found || p.Link == "#"+kind+"="+rows[i].id.String()
			}
			if !found {
				t.Errorf("%s: %s leads nowhere", test.name, p.Link)
			}
		}
	}
}
