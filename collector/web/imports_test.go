package web

import (
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func fileOf(t *testing.T, spans int) *fileStore {
	t.Helper()
	b := &dendro.Batch{Resource: &dendro.Resource{}}
	for i := range spans {
		s := &dendro.SpanData{Scope: &dendro.Scope{}}
		s.TraceID, s.SpanID = dendro.TraceID{15: 1}, dendro.SpanID{6: byte(i >> 8), 7: byte(i) | 1}
		s.Start, s.End = int64(i), int64(i)
		b.Spans = append(b.Spans, s)
	}
	f, err := newFileStore([]*dendro.Batch{b}, 1)
	testkit.NoError(t, err)
	return f
}

func TestImportsAreBounded(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var im imports
	held := func() (out string) {
		for _, f := range im.files {
			out += f.file
		}
		return out
	}
	tokens := map[string]string{}
	add := func(name string, spans int) {
		s := fileOf(t, 1)
		s.stats.Spans = spans
		tokens[name] = im.add(name, s, now)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		add(name, 1)
	}
	testkit.Equal(t, "four", held(), "abcd")
	testkit.Equal(t, "is found", im.get(tokens["a"], now).file, "a")
	add("e", 1)
	testkit.Equal(t, "the one that was not used goes", held(), "cdae")
	testkit.Equal(t, "is gone", im.get(tokens["b"], now) == nil, true)
	testkit.Equal(t, "no token", im.get("", now) == nil, true)

	add("f", maxImportedSpans-2)
	testkit.Equal(t, "spans", held(), "aef")
	add("g", maxImportedSpans)
	testkit.Equal(t, "one large file", held(), "g")
	add("h", 0)
	testkit.Equal(t, "an empty one", held(), "gh")

	now = now.Add(importIdle)
	im.get(tokens["h"], now)
	im.expire(now)
	testkit.Equal(t, "an hour", held(), "gh")
	im.expire(now.Add(1))
	testkit.Equal(t, "more than an hour", held(), "h")
	seen := map[string]bool{}
	for name, token := range tokens {
		if seen[token] || len(token) != 32 {
			t.Errorf("token of %s: %q", name, token)
		}
		seen[token] = true
	}
}

func TestCutImport(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	for path, want := range map[string][2]string{
		"/import/" + token + "/":                {token, "../../"},
		"import/" + token + "/":                 {token, "../../"},
		"/import/" + token:                      {token, "../"},
		"/x/import/" + token + "/trace/1":       {token, "../../../"},
		"/import/" + token + "/api/v2/traces/1": {token, "../../../../../"},
		"/import/x/":                            {},
		"/import/" + token + "0/":               {},
		"/reimport/" + token + "/":              {},
		"/api/search/tag/import/values":         {},
		"/trace/" + token:                       {},
	} {
		got, end := cutImport(path)
		testkit.Equal(t, path, [2]string{got, upFrom(end)}, want)
	}
}

// FuzzImport decodes files and shows their traces.
func FuzzImport(f *testing.F) {
	f.Add([]byte("\uFEFF[{\"traceId\":\"1\",\"id\":\"2\"}]\n{\"data\":[]}"))
	f.Add([]byte(`{"trace":{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","endTimeUnixNano":"9223372036854775807"}]}]}]}}`))
	f.Add([]byte(`{"spans":[{"traceID":"1","spanID":"2"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var im imports
		s, err := im.decode(t.Context(), data)
		if err != nil {
			return
		}
		h := &handler{store: s, file: "fuzz", now: s.now, since: s.window()}
		for _, trace := range s.traces {
			newSkeleton(trace, false).explain(h.median(t.Context()))
		}
	})
}
