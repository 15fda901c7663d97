package web

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// tree formats a skeleton as an indented tree of names and folds.
func tree(s *skeleton) string {
	var b strings.Builder
	for i, r := range s.rows {
		b.WriteString(strings.Repeat("  ", r.depth))
		if f := r.fold; f != nil {
			fmt.Fprintf(&b, "%d x %s %d-%d, total %d, %d errors, from %q", f.spans, s.rows[i+1].span.Name, r.start, r.end, f.total, f.errors, f.caller)
		} else {
			fmt.Fprintf(&b, "%s %d-%d", r.span.Name, r.start, r.end)
		}
		fmt.Fprintf(&b, ", size %d\n", r.size)
	}
	return b.String()
}

var shop = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}

// spanBelow returns a span below another one. It has an attribute if key is not "".
func spanBelow(parent, id int, name string, from, to int64, key, value string) collector.Span {
	s := collector.Span{Resource: shop}
	s.Scope = &dendro.Scope{}
	s.TraceID, s.SpanID, s.ParentID = dendro.TraceID{1}, dendro.SpanID{7: byte(id)}, dendro.SpanID{7: byte(parent)}
	s.Name, s.Kind, s.Start, s.End = name, dendro.KindClient, from, to
	if key != "" {
		s.Attributes = []slog.Attr{slog.String(key, value)}
	}
	return s
}

func TestFoldRepeats(t *testing.T) {
	root := spanBelow(0, 1, "GET /orders", 0, 1000, "", "")
	root.Events = []dendro.Event{
		{Name: "repeated statement", Attributes: []slog.Attr{slog.String("db.query.text", "SELECT 2")}},
		{Name: "repeated statement", Attributes: []slog.Attr{slog.String("db.query.text", "SELECT a WHERE id = ?"),
			slog.String("code.function.name", "shop.example/orders.(*store).list"), slog.String("code.file.path", "/src/orders/store.go"), slog.Int("code.line.number", 88)}},
	}
	spans := []collector.Span{root, spanBelow(1, 2, "SELECT orders", 10, 20, "db.query.text", "SELECT orders")}
	for n := range 6 {
		i := int64(10 * n)
		item := spanBelow(1, 10+n, "SELECT items", 20+i, 23+i, "db.query.text", "SELECT a WHERE id = ?")
		if n == 3 {
			item.Status.Code = dendro.StatusError
		}
		spans = append(spans, item)
		if n < 4 { // too few to fold
			spans = append(spans, spanBelow(1, 20+n, "SELECT items", 25+i, 26+i, "db.query.text", "SELECT a WHERE price > ?"))
		}
		// The same name, but different URLs.
		spans = append(spans, spanBelow(1, 30+n, "GET", 26+i, 27+i, "url.full", fmt.Sprint("http://stock.example/", n)))
	}
	for n := range 5 { // spans with children are not folded
		i := int64(10 * n)
		spans = append(spans, spanBelow(1, 40+n, "render", 100+i, 109+i, "", ""), spanBelow(40+n, 50+n, "part", 101+i, 102+i, "", ""))
	}
	trace := &collector.Trace{ID: root.TraceID, Spans: spans}
	s := newSkeleton(trace, false)
	testkit.Equal(t, "tree", tree(s), `GET /orders 0-1000, size 29
  SELECT orders 10-20, size 1
  6 x SELECT items 20-73, total 18, 1 errors, from "orders.(*store).list, store.go:88", size 7
    SELECT items 20-23, size 1
    SELECT items 30-33, size 1
    SELECT items 40-43, size 1
    SELECT items 50-53, size 1
    SELECT items 60-63, size 1
    SELECT items 70-73, size 1
  SELECT items 25-26, size 1
  GET 26-27, size 1
  SELECT items 35-36, size 1
  GET 36-37, size 1
  SELECT items 45-46, size 1
  GET 46-47, size 1
  SELECT items 55-56, size 1
  GET 56-57, size 1
  GET 66-67, size 1
  GET 76-77, size 1
  render 100-109, size 2
    part 101-102, size 1
  render 110-119, size 2
    part 111-112, size 1
  render 120-129, size 2
    part 121-122, size 1
  render 130-139, size 2
    part 131-132, size 1
  render 140-149, size 2
    part 141-142, size 1
`)
	testkit.Equal(t, "errors", s.Errors, 1)
	testkit.Equal(t, "missing parents", s.Missing, 0)
	testkit.Equal(t, "spans of the service", s.Services[0].Spans, len(spans))
	testkit.Equal(t, "self time of the root is what no span covers", s.rows[0].self, int64(1000-10-6*3-4-6-5*9))
}

// A trace whose root has not arrived is shown as "root missing" after a while.
func TestRootless(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		ended time.Duration // time from the end of the trace to now
		want  string
	}{
		{0, "no root yet"}, {59 * time.Second, "no root yet"}, {-59 * time.Second, "no root yet"},
		{time.Minute, "root missing"}, {24 * time.Hour, "root missing"}, {-time.Hour, "root missing"},
	} {
		s := collector.Summary{RootMissing: true, Start: now.Add(-c.ended - time.Second).UnixNano(), Duration: time.Second}
		got := listPage{Now: now}.Rootless(s)
		testkit.Equal(t, fmt.Sprint(c.ended), got.Mark, c.want)
		if s.RootMissing = false; (listPage{Now: now}).Rootless(s) != nil {
			t.Error("a trace with a root is marked")
		}
	}
}
