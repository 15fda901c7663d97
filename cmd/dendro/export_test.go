package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// everyField returns batches whose spans have every field of OTLP, and values of every kind.
func everyField(t *testing.T) []*dendro.Batch {
	t.Helper()
	attrs := []slog.Attr{
		slog.String("text", "größe\n\x00\u2028 </script> 世界"), slog.String("empty", ""), slog.Int64("least", math.MinInt64),
		slog.Float64("part", 0.1), slog.Float64("none", math.NaN()), slog.Float64("least float", math.SmallestNonzeroFloat64), slog.Bool("yes", true),
		slog.Any("bytes", []byte{0, 255}), slog.Any("strings", []string{"a", ""}), slog.Any("numbers", []int64{1, math.MaxInt64}),
		slog.Any("floats", []float64{math.Inf(-1)}), slog.Any("bools", []bool{true, false}),
		slog.Any("mixed", []slog.Value{slog.StringValue("a"), slog.IntValue(2), {}}),
		slog.Any("members", dendro.KeyValues{slog.Int("n", 1), slog.Any("inner", dendro.KeyValues{})}),
	}
	state, err := dendro.ParseTraceState("vendor=value,other@x=1")
	testkit.NoError(t, err)
	start := time.Now().UnixNano()
	span := func(id byte) *dendro.SpanData {
		s := &dendro.SpanData{Start: start + int64(id), End: start + int64(id)*1e6}
		s.TraceID, s.SpanID = dendro.TraceID{15: 1}, dendro.SpanID{7: id}
		return s
	}
	full := span(2)
	full.Name, full.Kind, full.Flags, full.State, full.Remote, full.ParentID = "GET /größe", dendro.KindServer, dendro.FlagSampled|dendro.FlagRandom, state, true, dendro.SpanID{7: 1}
	full.Attributes, full.Status = attrs, dendro.Status{Code: dendro.StatusError, Message: "no\nroom"}
	full.DroppedAttributes, full.DroppedEvents, full.DroppedLinks = 1, 2, math.MaxUint32
	full.Events = []dendro.Event{{Name: "exception", Time: start, Attributes: attrs, DroppedAttributes: 3}, {Time: start - 5, Duration: 42}}
	full.Links = []dendro.Link{
		{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{2}, Flags: 1, State: state}, Attributes: attrs, DroppedAttributes: 4},
		{SpanContext: dendro.SpanContext{TraceID: dendro.TraceID{1}, SpanID: dendro.SpanID{3}}, RemoteKnown: true, Remote: true},
	}
	full.Scope = &dendro.Scope{Name: "scope", Version: "1", Attributes: attrs, SchemaURL: "https://example.com/1", DroppedAttributes: 5}
	spans := []*dendro.SpanData{full}
	for kind := dendro.KindInternal; kind <= dendro.KindUnspecified; kind++ {
		bare := span(10 + byte(kind))
		bare.Kind, bare.RemoteUnknown, bare.Status.Code = kind, kind%2 == 1, dendro.StatusCode(kind%3)
		spans = append(spans, bare)
	}
	other := span(3)
	other.TraceID = dendro.TraceID{15: 2}
	return []*dendro.Batch{
		{Resource: &dendro.Resource{Attributes: append(attrs, slog.String("service.name", "shop")), SchemaURL: "https://example.com/2", DroppedAttributes: 6}, Spans: spans},
		{Resource: &dendro.Resource{}, Spans: []*dendro.SpanData{other}},
	}
}

// encoded returns all traces of a store, each in protobuf, which has all of their fields.
func encoded(t *testing.T, r collector.Reader) (out []string) {
	t.Helper()
	testkit.NoError(t, r.Scan(context.Background(), collector.Scan{AllAttributes: true, Details: true}, func(t *collector.Trace) bool {
		out = append(out, string(otlp.AppendTraces(nil, t.Batches()...)))
		return true
	}))
	return out
}

// An export that is sent again has the same traces, field by field, whatever the compression.
func TestExport(t *testing.T) {
	testkit.NoLeaks(t)
	store := memory.New(memory.Options{})
	testkit.NoError(t, store.Write(t.Context(), everyField(t)))
	page := httptest.NewServer(web.New(store, web.Options{}))
	defer page.Close()
	want := encoded(t, store)
	testkit.Equal(t, "traces", len(want), 2)
	dir := t.TempDir()
	for _, test := range []struct{ args, magic string }{
		{"traces.json", `{"resourceSpans":`},
		{"traces.json.gz", "\x1f\x8b"},
		{"traces.json.zst", "\x28\xb5\x2f\xfd"},
		{"-z gzip other", "\x1f\x8b"},
		{"-z none other.gz", `{"resourceSpans":`},
		{"-since 1h", `{"resourceSpans":`},
		{"-z zstd -", "\x28\xb5\x2f\xfd"},
	} {
		t.Run(test.args, func(t *testing.T) {
			args := append([]string{"export", "-addr", page.URL}, strings.Fields(test.args)...)
			path := filepath.Join(dir, args[len(args)-1])
			toFile := strings.Contains(path, "traces") || strings.Contains(path, "other")
			if toFile {
				args[len(args)-1] = path
			}
			var stdout, stderr bytes.Buffer
			testkit.Equal(t, "exit code", run(t.Context(), args, &stdout, &stderr), exitOK)
			if got := stderr.String(); !strings.HasPrefix(got, "2 lines exported, ") || !strings.HasSuffix(got, " KiB\n") {
				t.Errorf("stderr %q", got)
			}
			if !toFile {
				path = filepath.Join(dir, "stdout")
				testkit.NoError(t, os.WriteFile(path, stdout.Bytes(), 0o600))
			} else if stdout.Len() > 0 {
				t.Errorf("stdout %q", stdout.String())
			}
			data, err := os.ReadFile(path)
			testkit.NoError(t, err)
			if !bytes.HasPrefix(data, []byte(test.magic)) {
				t.Errorf("the file begins with %q", data[:20])
			}
			to := newReceiver(t, nil)
			testkit.Equal(t, "exit code of send", run(t.Context(), []string{"send", "-otlp", to.url, path}, io.Discard, t.Output()), exitOK)
			testkit.Equal(t, "traces", encoded(t, to.store), want)
		})
	}
	left, err := os.ReadDir(dir)
	testkit.NoError(t, err)
	testkit.Equal(t, "files", len(left), 6)
}

// A page that wants a token gets it.
func TestExportWithToken(t *testing.T) {
	page := httptest.NewServer(web.New(memory.New(memory.Options{}), web.Options{
		Authorize: func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer s3cret" },
	}))
	defer page.Close()
	token := filepath.Join(t.TempDir(), "token")
	testkit.NoError(t, os.WriteFile(token, []byte("s3cret"), 0o600))
	t.Setenv(tokenVariable, "")
	testkit.Equal(t, "without", run(t.Context(), []string{"export", "-addr", page.URL}, t.Output(), t.Output()), exitError)
	testkit.Equal(t, "with", run(t.Context(), []string{"export", "-addr", page.URL, "-token-file", token}, t.Output(), t.Output()), exitOK)
	t.Setenv(tokenVariable, "s3cret")
	testkit.Equal(t, "in the environment", run(t.Context(), []string{"query", "-addr", page.URL, "{ }"}, t.Output(), t.Output()), exitOK)
}

// An export that fails says so, and leaves no part of a file under its name.
func TestExportFails(t *testing.T) {
	testkit.NoLeaks(t)
	const line = `{"resourceSpans":[]}` + "\n"
	answer := func(status int, body string, cut bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			if cut {
				testkit.NoError(t, http.NewResponseController(w).Flush())
				panic(http.ErrAbortHandler)
			}
		}
	}
	for name, test := range map[string]struct {
		page   http.HandlerFunc
		args   string
		code   int
		stderr string
	}{
		"cut":            {answer(200, line, true), "traces", exitError, "the export is not complete: unexpected EOF"},
		"failed":         {answer(200, line+`{"error":"no such block"}`, true), "traces", exitError, "the export is not complete: no such block"},
		"failed, uncut":  {answer(200, line+`{"error":"no such block"}`, false), "traces", exitError, "the export is not complete: no such block"},
		"no export":      {answer(200, "<html>", false), "traces", exitError, "the answer is not an export"},
		"forbidden":      {answer(403, "403 forbidden", false), "traces", exitError, "403 forbidden"},
		"no such folder": {answer(200, line, false), "none/traces", exitError, "no such file"},
		"two files":      {nil, "traces other", exitUsage, `unexpected argument "other"`},
		"compression":    {nil, "-z lzma traces", exitUsage, "-z lzma: want gzip, zstd or none"},
		"a wrong flag":   {nil, "-colour traces", exitUsage, "Usage:"},
		"help":           {nil, "-help", exitOK, "dendro export -since 24h traces.json.zst"},
	} {
		t.Run(name, func(t *testing.T) {
			page := httptest.NewServer(test.page)
			defer page.Close()
			dir := t.TempDir()
			t.Chdir(dir)
			testkit.NoError(t, os.WriteFile("traces", []byte("of before"), 0o600))
			var stderr bytes.Buffer
			code := run(t.Context(), append([]string{"export", "-addr", page.URL}, strings.Fields(test.args)...), t.Output(), &stderr)
			testkit.Equal(t, "exit code", code, test.code)
			if got := stderr.String(); !strings.Contains(got, test.stderr) {
				t.Errorf("stderr %q, want %q", got, test.stderr)
			}
			data, err := os.ReadFile("traces")
			testkit.NoError(t, err)
			testkit.Equal(t, "the file", string(data), "of before")
			left, err := os.ReadDir(dir)
			testkit.NoError(t, err)
			testkit.Equal(t, "files", len(left), 1)
		})
	}
}

// A disk that is full is named once.
func TestExportToFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("SKIPPED: there is no /dev/full")
	}
	store := memory.New(memory.Options{})
	testkit.NoError(t, store.Write(t.Context(), []*dendro.Batch{traceOf(1, 1000)}))
	for _, compression := range []string{"none", "gzip"} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"export", "-addr", pageOf(t, store), "-z", compression, "/dev/full"}, t.Output(), &stderr)
		testkit.Equal(t, "exit code", code, exitError)
		testkit.Equal(t, "stderr", stderr.String(), "dendro export: write /dev/full: no space left on device\n")
	}
}

// Where a name is a symbolic link, the file that it leads to is written, when all is there, and keeps
// its permissions.
func TestExportToLink(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	testkit.NoError(t, os.Mkdir(there, 0o700))
	link := filepath.Join(there, "link")
	if err := errors.Join(os.Symlink("target", filepath.Join(there, "other")), os.Symlink("other", link)); err != nil {
		t.Skipf("SKIPPED: no symbolic links: %v", err)
	}
	target := filepath.Join(there, "target")
	export := func(text string, failure error) {
		t.Helper()
		err := writeFile(link, io.Discard, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, failure)
		})
		testkit.Equal(t, "error", errors.Is(err, failure), true)
	}
	export("first", nil) // there is no file yet
	testkit.NoError(t, os.Chmod(target, 0o640))
	export("second", nil)
	export("third", io.ErrUnexpectedEOF)
	data, err := os.ReadFile(target)
	testkit.NoError(t, err)
	testkit.Equal(t, "the file", string(data), "second")
	info, err := os.Stat(target)
	testkit.NoError(t, err)
	if runtime.GOOS != "windows" {
		testkit.Equal(t, "permissions", info.Mode(), os.FileMode(0o640))
	}
	to, err := os.Readlink(link)
	testkit.NoError(t, err)
	testkit.Equal(t, "the link", to, "other")
	left, err := os.ReadDir(there)
	testkit.NoError(t, err)
	testkit.Equal(t, "files", len(left), 3)
}

// Standard output has whole lines, also if the answer ends within one. A proxy may end it without an
// error.
func TestExportEndsWithinLine(t *testing.T) {
	testkit.NoLeaks(t)
	const line = `{"resourceSpans":[]}` + "\n"
	for name, cut := range map[string]bool{"cut": true, "ended": false} {
		t.Run(name, func(t *testing.T) {
			page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, line, `{"resourceSpans":[{"res`)
				if cut {
					testkit.NoError(t, http.NewResponseController(w).Flush())
					panic(http.ErrAbortHandler)
				}
			}))
			defer page.Close()
			var stdout, stderr bytes.Buffer
			testkit.Equal(t, "exit code", run(t.Context(), []string{"export", "-addr", page.URL}, &stdout, &stderr), exitError)
			testkit.Equal(t, "standard output", stdout.String(), line)
			if got := stderr.String(); !strings.Contains(got, "the export is not complete: unexpected EOF") {
				t.Errorf("stderr %q", got)
			}
		})
	}
}
