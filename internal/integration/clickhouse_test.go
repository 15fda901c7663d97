package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// OpenTelemetry's exporter sends to two collectors in front of one ClickHouse. Both answer what a store in memory does: the
// queries of the table by the API, and some by the page and the command line.
func TestClickHouse(t *testing.T) {
	if testkit.Race {
		t.Skip("the work is that of ClickHouse, which is another process")
	}
	program := buildProgram(t, "../../cmd/dendro")
	dsn := testkit.ClickHouseDatabase(t)
	collectors := []*serving{startServing(t, program, "-clickhouse", dsn), startServing(t, program, "-clickhouse", dsn)}
	store := memory.New(memory.Options{})
	for i, b := range storetest.Data() {
		testkit.NoError(t, store.Collect(b))
		var spans tracepb.TracesData
		testkit.NoError(t, proto.Unmarshal(otlp.AppendTraces(nil, b), &spans))
		client := otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(collectors[i%2].otlp + "/v1/traces"))
		testkit.NoError(t, client.Start(t.Context()))
		testkit.NoError(t, client.UploadTraces(t.Context(), spans.ResourceSpans))
		testkit.NoError(t, client.Stop(t.Context()))
	}
	page := httptest.NewServer(web.New(store, web.Options{}))
	defer page.Close()

	asked := 0
	lines := storetest.Queries()
	for i, line := range lines {
		if !strings.HasPrefix(line, "\t") {
			continue
		}
		asked++
		path := "api/search?" + url.Values{"q": {lines[i-1]}, "limit": {"1000"}, "spss": {"1000"}}.Encode()
		if answer(t, page.URL+"/"+path)["error"] != nil || strings.HasPrefix(line, "\terror") {
			path = "api/metrics/query_range?" + url.Values{"q": {lines[i-1]}, "start": {"1700000000"}, "end": {"1700000004"}, "step": {"1s"}}.Encode()
		}
		want := fmt.Sprint(answer(t, page.URL+"/"+path))
		for n, c := range collectors {
			if got := fmt.Sprint(answer(t, c.web+"/"+path)); got != want {
				t.Errorf("%s\ncollector %d: %.2000s\nmemory:      %.2000s", lines[i-1], n+1, got, want)
			}
		}
	}
	if asked < 200 {
		t.Errorf("%d queries, want at least 200", asked)
	}

	for _, query := range []string{`{ status = error }`, `{ span.items = "pen" }`, `{ resource.service.name = "shop" } >> { kind = client }`} {
		var outs []string
		for _, of := range []string{page.URL + "/", collectors[0].web + "/", collectors[1].web + "/"} {
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(program, "query", "-addr", of, "-since", "200000h", "-o", "json", query)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
			}
			outs = append(outs, fmt.Sprint(parsed(t, stdout.String())))
			_, body := get(t, of+"?since=200000h&q="+url.QueryEscape(query))
			if !strings.Contains(body, "POST /checkout") {
				t.Errorf("the page of %s does not show the trace for %s", of, query)
			}
		}
		testkit.Equal(t, query+": the first collector", outs[1], outs[0])
		testkit.Equal(t, query+": the second one", outs[2], outs[0])
	}
}

func get(t *testing.T, address string) (code int, body string) {
	t.Helper()
	res, err := http.Get(address) //nolint:gosec // on loopback
	testkit.NoError(t, err)
	defer res.Body.Close() //nolint:errcheck // it was read
	data, err := io.ReadAll(res.Body)
	testkit.NoError(t, err)
	return res.StatusCode, string(data)
}

// answer returns what the API answers, without how much was read for it, and which spans are examples.
func answer(t *testing.T, address string) map[string]any {
	t.Helper()
	code, body := get(t, address)
	if code != http.StatusOK {
		return map[string]any{"error": fmt.Sprint(code, " ", body)}
	}
	return parsed(t, body)
}

// parsed returns the answer of a text.
func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	testkit.NoError(t, json.Unmarshal([]byte(text), &out))
	delete(out, "metrics")
	return agreed(out).(map[string]any)
}

// agreed returns what two stores must agree on: their sums are those of other orders.
func agreed(v any) any {
	switch v := v.(type) {
	case float64:
		return fmt.Sprintf("%.12g", v)
	case []any:
		for i := range v {
			v[i] = agreed(v[i])
		}
	case map[string]any:
		delete(v, "exemplars")
		for key := range v {
			v[key] = agreed(v[key])
		}
	}
	return v
}
