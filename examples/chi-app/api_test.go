package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// user sends requests and keeps no connection.
var user = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}

// do sends a request and returns status and body.
func do(t testing.TB, method, url, contentType, body string) (int, string) {
	t.Helper()
	return send(t, user, method, url, contentType, body)
}

// send is do with another client.
func send(t testing.TB, client *http.Client, method, url, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// trace is what the query API returns for a trace.
type trace struct {
	duration time.Duration
	spans    []span // in the order in which they began
}

type span struct {
	*dendro.SpanData
	service string
}

func (s span) attr(key string) string {
	i := slices.IndexFunc(s.Attributes, func(a slog.Attr) bool { return a.Key == key })
	if i < 0 {
		return ""
	}
	return s.Attributes[i].Value.String()
}

// newestTrace waits until the newest trace in the API has this root name and number of
// spans.
func newestTrace(t *testing.T, api, root string, spans int) trace {
	t.Helper()
	var found struct {
		Traces []struct {
			TraceID       string
			RootTraceName string
			DurationMs    int64
		}
	}
	var got trace
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, body := do(t, "GET", api+"/api/search?limit=1", "", "")
		if err := json.Unmarshal([]byte(body), &found); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if len(found.Traces) > 0 && found.Traces[0].RootTraceName == root {
			got = fetchTrace(t, api, found.Traces[0].TraceID)
			if len(got.spans) == spans {
				got.duration = time.Duration(found.Traces[0].DurationMs) * time.Millisecond
				return got
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no trace %q with %d spans; the newest is %+v:\n%s", root, spans, found.Traces, got.tree())
		}
	}
}

func fetchTrace(t *testing.T, api, id string) (out trace) {
	t.Helper()
	_, body := do(t, "GET", api+"/api/v2/traces/"+id, "", "")
	var answer struct{ Trace json.RawMessage }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	batches, err := otlp.DecodeTracesJSON(answer.Trace)
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, b := range batches {
		for _, s := range b.Spans {
			out.spans = append(out.spans, span{s, b.Resource.Service()})
		}
	}
	slices.SortFunc(out.spans, func(a, b span) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// tree returns a line for each span, with its service, kind and name, indented below
// its parent.
func (tr trace) tree() string {
	var text strings.Builder
	var write func(parent dendro.SpanID, indent string)
	write = func(parent dendro.SpanID, indent string) {
		for _, s := range tr.spans {
			if s.ParentID == parent {
				fmt.Fprintf(&text, "%s%s %v %s\n", indent, s.service, s.Kind, s.Name)
				write(s.SpanID, indent+"  ")
			}
		}
	}
	write(dendro.SpanID{}, "")
	return text.String()
}

// rootSelfTime returns the time of the root in which none of its children, which
// follow each other, is active.
func (tr trace) rootSelfTime() time.Duration {
	root := tr.spans[0]
	self := root.Duration()
	for _, s := range tr.spans {
		if s.ParentID == root.SpanID {
			self -= s.Duration()
		}
	}
	return self
}
