package web_test

import (
	"log/slog"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestSQL(t *testing.T) {
	store := memory.New(memory.Options{})
	server := serve(t, store, web.Options{})
	has(t, followed(t, server.URL+"/?view=sql").body, "No trace of this window has a statement")

	now := time.Now().UnixNano()
	query := func(trace, id, parent byte, text string, d time.Duration) *dendro.SpanData {
		s := &dendro.SpanData{Name: "query", Start: now - int64(d), End: now, ParentID: dendro.SpanID{parent},
			Attributes: []slog.Attr{slog.String("db.system.name", "mysql"), slog.String("db.namespace", "shop"), slog.String("db.query.text", text)}}
		s.TraceID, s.SpanID = dendro.TraceID{trace}, dendro.SpanID{id}
		return s
	}
	const items, users = "SELECT <b> FROM items WHERE id = ?", "SELECT * FROM users"
	spans := []*dendro.SpanData{query(2, 1, 0, users, time.Second)}
	for i := range byte(7) {
		spans = append(spans, query(1, 10+i, 9, items, 10*time.Millisecond))
	}
	spans[1].Status.Code = dendro.StatusError
	spans[1].Attributes = append(spans[1].Attributes, slog.Int("db.response.returned_rows", 40), slog.Int("dendro.db.affected_rows", 2))
	spans[2].Events = []dendro.Event{{Name: "pool wait", Time: spans[2].Start, Duration: 4 * time.Millisecond}}
	testkit.NoError(t, store.Collect(&dendro.Batch{Resource: &dendro.Resource{}, Spans: spans}))

	page := func(order string) string { return followed(t, server.URL+"/?view=sql&order="+order).body }
	body := page("time")
	has(t, body, "SELECT &lt;b&gt; FROM items", "mysql shop", "70.0 ms", "1.00 s", "4.00 ms", "7 ×<span class=\"wide\"> in a trace</span>", `<td class="num wide">42</td>`,
		`href="trace/01000000000000000000000000000000"`, `href="trace/01000000000000000000000000000000#span=0b00000000000000" title="The longest was 4.00 ms"`, "Of 2 traces that are held")
	for order, first := range map[string]string{"time": "users", "count": "items", "p99": "users", "errors": "items", "wait": "items", "repeats": "items", "nonsense": "users"} {
		body := page(order)
		if at := strings.Index(body, "FROM "); !strings.HasPrefix(body[at+len("FROM "):], first) {
			t.Errorf("by %s: the first statement is not about %s", order, first)
		}
	}
	one := followed(t, server.URL+"/?view=sql&trace=2000000000000000000000000000000").body
	has(t, one, "Of one <a href=\"trace/2000000000000000000000000000000\">trace</a>", users)
	if strings.Contains(one, "items") {
		t.Error("the page of one trace has statements of another one")
	}
	testkit.Equal(t, "no such trace", followed(t, server.URL+"/?view=sql&trace=99").status, 404)
	found := followed(t, server.URL+"/?q="+url.QueryEscape(`{ span.db.query.text = "`+items+`" }`))
	has(t, found.body, `href="trace/01000000000000000000000000000000"`)
	has(t, body, "?q="+strings.ReplaceAll(url.QueryEscape(`{ span.db.query.text = "`+users+`" }`), "+", "&#43;"))
}

// Sums of what a hostile sender says do not overflow.
func TestSQLSums(t *testing.T) {
	store := memory.New(memory.Options{})
	now := time.Now().UnixNano()
	for id := range byte(8) {
		s := &dendro.SpanData{Start: now, End: math.MaxInt64, Attributes: []slog.Attr{
			slog.String("db.query.text", "SELECT 1"), slog.Int64("db.response.returned_rows", math.MaxInt64), slog.Int("dendro.db.affected_rows", 1)}}
		s.TraceID, s.SpanID = dendro.TraceID{1 + id}, dendro.SpanID{1}
		testkit.NoError(t, store.Collect(&dendro.Batch{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{s}}))
	}
	has(t, followed(t, serve(t, store, web.Options{}).URL+"/?view=sql").body, "2562047h 47m", "9\u202f223\u202f372\u202f036\u202f854\u202f775\u202f807")
}

func TestCompare(t *testing.T) {
	store := memory.New(memory.Options{})
	server := serve(t, store, web.Options{})
	has(t, followed(t, server.URL+"/?view=compare&a=").body, "Compare two traces")
	give := func(id byte, name string, took time.Duration) string {
		s := &dendro.SpanData{Name: name, Start: 1_700_000_000_000_000_000, End: 1_700_000_000_000_000_000 + int64(took)}
		s.TraceID, s.SpanID = dendro.TraceID{id}, dendro.SpanID{1}
		testkit.NoError(t, store.Collect(&dendro.Batch{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{s}}))
		return s.TraceID.String()
	}
	a := give(1, "GET /<b>", time.Second)
	has(t, followed(t, server.URL+"/?view=compare&a="+a).body, "Nothing to compare with")
	give(2, "other", 30*time.Millisecond)
	give(3, "GET /<b>", 10*time.Millisecond)
	typical := give(4, "GET /<b>", 20*time.Millisecond)
	give(5, "GET /<b>", 30*time.Millisecond)
	page := followed(t, server.URL+"/?view=compare&a="+a)
	testkit.Equal(t, "status", page.status, 200)
	has(t, page.body, `value="`+typical+`"`, "GET /&lt;b&gt;", "1.00 s", "20.0 ms", "980 ms", "median duration")
	page = followed(t, server.URL+"/?view=compare&a="+a+"&b=99")
	testkit.Equal(t, "status", page.status, 404)
	has(t, page.body, "These traces cannot be compared", `value="99"`)
	testkit.Equal(t, "bad id", followed(t, server.URL+"/?view=compare&a=x").status, 400)
}
