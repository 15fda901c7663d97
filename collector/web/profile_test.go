package web_test

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/diagnostics"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A CPU profile is downloaded from the page while the program works, and go tool pprof opens it.
func TestProfile(t *testing.T) {
	testkit.NoLeaks(t)
	diag := diagnostics.New(diagnostics.Options{})
	tracer := dendro.New(dendro.Options{Sampler: dendro.AlwaysSample, Observer: diag})
	server := serve(t, &fakeStore{}, web.Options{Diagnostics: diag})
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, operation := range []string{"GET /orders/{id}", "GET /teas"} {
		work.Go(func() {
			for ctx.Err() == nil {
				_, span := tracer.Start(context.Background(), operation)
				for began := time.Now(); time.Since(began) < 10*time.Millisecond; {
				}
				span.End()
			}
		})
	}
	got := do(t, http.MethodGet, server.URL+"/profile?seconds=1&operation="+url.QueryEscape("GET /orders/{id}"), nil)
	if got.status == http.StatusConflict {
		t.Skip("go test -cpuprofile")
	}
	testkit.Equal(t, "status", got.status, http.StatusOK)
	testkit.Equal(t, "name of the file", got.header.Get("Content-Disposition"), `attachment; filename="profile-GET-orders-id.pb.gz"`)
	file := filepath.Join(t.TempDir(), "profile.pb.gz")
	testkit.NoError(t, os.WriteFile(file, []byte(got.body), 0o600))
	tags, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-tags", file).Output()
	testkit.NoError(t, err)
	has(t, string(tags), "GET /orders/{id}", "trace_id")
	if bytes.Contains(tags, []byte("GET /teas")) {
		t.Errorf("the profile has another operation:\n%s", tags)
	}
}

func TestProfileRefuses(t *testing.T) {
	diag := diagnostics.New(diagnostics.Options{})
	server := serve(t, &fakeStore{}, web.Options{Diagnostics: diag})
	for seconds, status := range map[string]int{"0": 400, "61": 400, "-1": 400, "1.5": 400, "x": 400, "99999999999999999999": 400} {
		got := do(t, http.MethodGet, server.URL+"/profile?seconds="+seconds, nil)
		testkit.Equal(t, "status for "+seconds+" seconds", got.status, status)
		has(t, got.body, "seconds: want a number from 1 to 60, such as seconds=10")
	}
	for site, status := range map[string]int{"": 200, "none": 200, "same-origin": 200, "same-site": 403, "cross-site": 403} {
		testkit.Equal(t, "status from site "+site, do(t, http.MethodHead, server.URL+"/profile", http.Header{"Sec-Fetch-Site": {site}}).status, status)
	}
	testkit.Equal(t, "status of HEAD", do(t, http.MethodHead, server.URL+"/profile", nil).status, http.StatusOK)
	testkit.Equal(t, "status of POST", do(t, http.MethodPost, server.URL+"/profile", nil).status, http.StatusMethodNotAllowed)
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Skip(err) // go test -cpuprofile
	}
	defer pprof.StopCPUProfile()
	got := do(t, http.MethodGet, server.URL+"/profile?seconds=1", nil)
	testkit.Equal(t, "status of a second profile", got.status, http.StatusConflict)
	has(t, got.body, "another CPU profile is running")

	got = do(t, http.MethodGet, serve(t, &fakeStore{}, web.Options{}).URL+"/profile", nil)
	testkit.Equal(t, "status without diagnostics", got.status, http.StatusNotFound)
	has(t, got.body, "set web.Options.Diagnostics")
	locked := web.Options{Diagnostics: diag, Authorize: func(*http.Request) bool { return false }}
	testkit.Equal(t, "status without permission", do(t, http.MethodGet, serve(t, &fakeStore{}, locked).URL+"/profile", nil).status, http.StatusForbidden)
}

// The overview has links to profiles of requests to services of this process.
func TestProfileLinks(t *testing.T) {
	store := memory.New(memory.Options{})
	diag := diagnostics.New(diagnostics.Options{})
	shop := dendro.New(dendro.Options{Service: "shop", Collector: store, Sampler: dendro.AlwaysSample})
	bank := dendro.New(dendro.Options{Service: "bank", Collector: store, Sampler: dendro.AlwaysSample})
	for _, tracer := range []*dendro.Tracer{shop, bank} {
		for _, kind := range []dendro.Kind{dendro.KindServer, dendro.KindConsumer, dendro.KindClient, dendro.KindInternal} {
			_, span := tracer.StartWith(t.Context(), kind.String()+" of "+tracer.Resource().Service(), dendro.StartOptions{Kind: kind})
			span.End()
		}
	}
	for _, test := range []struct {
		options web.Options
		want    string
	}{
		{web.Options{}, ""},
		{web.Options{Diagnostics: diag}, "consumer of bank, consumer of shop, server of bank, server of shop"},
		{web.Options{Diagnostics: diag, Tracers: []*dendro.Tracer{shop}}, "consumer of shop, server of shop"},
	} {
		got := do(t, http.MethodGet, serve(t, store, test.options).URL+"/?kind=all", nil)
		var operations []string
		for _, link := range got.links() {
			if query, ok := strings.CutPrefix(link, "profile?"); ok {
				values, err := url.ParseQuery(html.UnescapeString(query))
				testkit.NoError(t, err)
				testkit.Equal(t, "seconds", values.Get("seconds"), "10")
				operations = append(operations, values.Get("operation"))
			}
		}
		testkit.Equal(t, "operations with a link", strings.Join(slices.Sorted(slices.Values(operations)), ", "), test.want)
	}
}
