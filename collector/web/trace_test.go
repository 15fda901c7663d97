package web_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestMatch(t *testing.T) {
	store := &fakeStore{}
	root := span(1, 1, 0, "Shop", "GET /Orders", 0, 100)
	root.Attributes = []slog.Attr{slog.Int("http.response.status_code", 503), slog.Any("Tags", []string{"Straße", "two words"})}
	child := span(1, 2, 1, "shop", "SELECT", 10, 40)
	child.Status = dendro.Status{Code: dendro.StatusError, Message: "No such table"}
	child.Events = []dendro.Event{{Name: "Thrown", Attributes: []slog.Attr{slog.Bool("exception.escaped", true)}}}
	other := span(1, 0xab, 1, "mail", "send", 20, 30)
	other.Links = []dendro.Link{{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{15: 0xfe}, SpanID: dendro.SpanID{7: 0xcd}}}}
	other.Scope = &dendro.Scope{Name: "Mailer.Lib"}
	store.add(root, child, other)
	server := serve(t, store, web.Options{})
	match := func(q string) page { return followed(t, server.URL+"/api/dendro/traces/1/match?q="+url.QueryEscape(q)) }

	const one, two, three = "0000000000000001", "0000000000000002", "00000000000000ab"
	for q, want := range map[string][]string{
		"get /orders": {one}, "SHOP": {one, two}, "503": {one}, "STATUS_code": {one}, "STRASSE": nil, "straße": {one}, `"two WORDS"`: {one},
		"no such": {two}, "thrown": {two}, "exception.escaped": {two}, "TRUE": {two}, "00000000000000AB": {three},
		"fe": {three}, "cd": {three}, "mailer.lib": {three}, " send ": {three}, "nothing": nil, "0": {one, two, three}, "send\nmail": nil,
		"{}": {one, two, three}, "{ duration > 25ms }": {one, two}, "{ status = error } | count() > 0": {two}, "{ status = error } | count() > 1": nil,
		"{ } >> { name = `send` }": {three}, "{ } | by(resource.service.name)": {one, two, three},
	} {
		var got struct{ Spans []string }
		p := match(q)
		testkit.NoError(t, json.Unmarshal([]byte(p.body), &got))
		testkit.Equal(t, q, fmt.Sprint(p.status, got.Spans), fmt.Sprint(200, want))
	}
	for q, want := range map[string]string{
		"": "give a text", " ": "give a text", "{ name = }": "1:10: ", "{ } | rate()": "metrics", strings.Repeat("é", 1001): "at most 1000",
	} {
		p := match(q)
		testkit.Equal(t, q, p.status, 400)
		has(t, p.body, "q: ", want)
	}
	testkit.Equal(t, "the longest", match(strings.Repeat("é", 1000)).body, `{"spans":[]}`)
	testkit.Equal(t, "no trace", followed(t, server.URL+"/api/dendro/traces/2/match?q=a").status, 404)
}

func TestEvents(t *testing.T) {
	store := &fakeStore{}
	client, server := span(1, 1, 0, "shop", "GET", 0, 100), span(1, 2, 1, "stock", "GET /stock", -30, 30)
	client.Kind, server.Kind = dendro.KindClient, dendro.KindServer
	at := func(ms int64, name string, attrs ...slog.Attr) dendro.Event {
		return dendro.Event{Name: name, Time: base + ms*1e6, Duration: 5, Attributes: attrs}
	}
	client.Events = []dendro.Event{at(60, "last"), at(1, "sent")}
	server.Events = []dendro.Event{at(-20, "received", slog.Int("bytes", 7))}
	store.add(client, server)
	store.add(span(2, 1, 0, "shop", "GET", 0, 100))
	many := span(3, 1, 0, "shop", "GET", 0, 100)
	for i := range 5003 {
		many.Events = append(many.Events, at(int64(6000-i), fmt.Sprint(i)))
	}
	store.add(many)
	events := func(path string) page {
		return followed(t, serve(t, store, web.Options{}).URL+"/api/dendro/traces/"+path)
	}

	const received = `"name":"received","duration":5,"attributes":[{"key":"bytes","type":"int","value":"7"}]}`
	equalJSON(t, events("1/events").body, `{"more":0,"events":[
		{"spanId":"0000000000000002","offset":10000000,`+received+`,
		{"spanId":"0000000000000001","offset":31000000,"name":"sent","duration":5,"attributes":[]},
		{"spanId":"0000000000000001","offset":90000000,"name":"last","duration":5,"attributes":[]}]}`)
	equalJSON(t, events("1/events?clocks=straight").body, `{"more":0,"events":[
		{"spanId":"0000000000000001","offset":1000000,"name":"sent","duration":5,"attributes":[]},
		{"spanId":"0000000000000002","offset":30000000,`+received+`,
		{"spanId":"0000000000000001","offset":60000000,"name":"last","duration":5,"attributes":[]}]}`)
	equalJSON(t, events("2/events").body, `{"more":0,"events":[]}`)
	var got struct {
		Events []struct{ Name string }
		More   int
	}
	testkit.NoError(t, json.Unmarshal([]byte(events("3/events").body), &got))
	testkit.Equal(t, "bounded", []any{len(got.Events), got.Events[0].Name, got.Events[4999].Name, got.More}, []any{5000, "5002", "3", 3})
	testkit.Equal(t, "no such choice", events("1/events?clocks=x").status, 400)
	testkit.Equal(t, "no trace", events("4/events").status, 404)
}

func TestLinkedBy(t *testing.T) {
	store := &fakeStore{}
	linking := func(trace, id byte, toTrace, toSpan byte) collector.Span {
		s := span(trace, id, 0, "mail", "send", 5, 7)
		s.Links = []dendro.Link{{}, {SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{15: toTrace}, SpanID: dendro.SpanID{7: toSpan}}}}
		return s
	}
	store.add(linking(2, 1, 1, 1), linking(2, 2, 9, 1), linking(2, 3, 1, 9))
	store.add(span(1, 1, 0, "shop", "GET /", 0, 10), linking(1, 2, 1, 1))
	var many []collector.Span
	for i := range byte(30) {
		many = append(many, linking(3, i+1, 3, 1))
	}
	store.add(many...)
	server := serve(t, store, web.Options{})
	links := func(path string) page { return followed(t, server.URL+"/api/dendro/traces/"+path+"/links") }

	const about = `"name":"send","service":"mail","start":"1700000000005000000"}`
	equalJSON(t, links("1/spans/0000000000000001").body, `{"more":false,"linkedBy":[
		{"traceId":"`+traceOne+`","spanId":"0000000000000002",`+about+`,
		{"traceId":"00000000000000000000000000000002","spanId":"0000000000000001",`+about+`]}`)
	testkit.Equal(t, "the store is asked", store.asked.Hints.Spans[0].StartsAfter.UnixNano(), base-60e9)
	equalJSON(t, links("1/spans/0000000000000002").body, `{"more":false,"linkedBy":[]}`)
	var got struct {
		LinkedBy []struct{ SpanID string }
		More     bool
	}
	testkit.NoError(t, json.Unmarshal([]byte(links("3/spans/0000000000000001").body), &got))
	testkit.Equal(t, "bounded", []any{len(got.LinkedBy), got.LinkedBy[0].SpanID, got.More}, []any{20, "0000000000000001", true})
	for path, want := range map[string]int{"1/spans/x": 400, "1/spans/00000000000000ff": 404, "7/spans/0000000000000001": 404} {
		testkit.Equal(t, path, links(path).status, want)
	}
}
