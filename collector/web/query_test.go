package web

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestParseSearch(t *testing.T) {
	for _, test := range []struct {
		form, query string
		options     traceql.SearchOptions
	}{
		{"", "{ }", traceql.SearchOptions{}},
		{"limit=7&spss=5&start=10&end=20", "{ }", traceql.SearchOptions{Limit: 7, Spans: 5, Start: time.Unix(10, 0), End: time.Unix(21, 0)}},
		{"minDuration=5ms&maxDuration=1.5s", "{ traceDuration >= 5ms } && { traceDuration <= 1.5s }", traceql.SearchOptions{}},
		{"maxDuration=0s", "{ }", traceql.SearchOptions{}},
		{"service=shop&name=GET /&error=true&minDuration=&tags= ", `{ resource.service.name = "shop" && name = "GET /" } && { status = error }`, traceql.SearchOptions{}},
		{"error=false", "{ }", traceql.SearchOptions{}},
		{`tags=service.name=shop http.response.status_code=500 name="GET /" error=true`,
			`{ resource.service.name = "shop" && name = "GET /" } && { .http.response.status_code =~ "500" } && { status = error }`, traceql.SearchOptions{}},
		{`tags=a="say \"hi\" = now"  status=error b=`, `{ .a =~ "say \"hi\" = now" && .b =~ "" } && { status = error }`, traceql.SearchOptions{}},
		{`tags=a.b(c)=[x.*]`, `{ ."a.b(c)" =~ "\\[x\\.\\*\\]" }`, traceql.SearchOptions{}},
		{"q={}", "{ }", traceql.SearchOptions{}},
		{"q={ kind = server } | count() > 2&error=true", "({ kind = server } | count() > 2) && { status = error }", traceql.SearchOptions{}},
		{"q={span.n=5&&span.ok=true||duration<=2s}", "{ span.n = 5 && span.ok = true || duration <= 2s }", traceql.SearchOptions{}},
	} {
		got, err := parseSearch(valuesOf(test.form))
		testkit.NoError(t, err)
		testkit.Equal(t, test.form, got.Query.String(), test.query)
		testkit.Equal(t, test.form, got.SearchOptions, test.options)
	}
}

func TestParseSearchErrors(t *testing.T) {
	for query, want := range map[string]string{
		"limit=0":                            "limit: ",
		"limit=1001":                         "from 1 to 1000",
		"limit=many":                         "limit: ",
		"spss=0":                             "spss: ",
		"start=yesterday":                    "Unix seconds",
		"end=-1":                             "Unix seconds",
		"minDuration=5":                      "such as 100ms",
		"maxDuration=-5s":                    "such as 100ms",
		"minDuration=2s&maxDuration=1s":      "longer than",
		"error=perhaps":                      "true or false",
		"tags=shop":                          "key=value",
		"tags==x":                            "key=value",
		`tags=a="b`:                          "closing quote",
		`tags=a="b"c=d`:                      "space is missing",
		"tags=status=ok":                     "status=ok cannot be searched for",
		"tags=service.name=a service.name=b": "given twice",
		"q=status=error":                     "q: 1:1: a condition must be in braces",
		"q={ name= }":                        `q: 1:9: expected a value after "="`,
	} {
		if _, err := parseSearch(valuesOf(query)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", query, err, want)
		}
	}
}

// valuesOf parses name=value pairs that are separated by &. A && is part of a value.
func valuesOf(query string) url.Values {
	v := url.Values{}
	for pair := range strings.SplitSeq(strings.ReplaceAll(query, "&&", "\x00"), "&") {
		name, value, _ := strings.Cut(strings.ReplaceAll(pair, "\x00", "&&"), "=")
		v.Set(name, value)
	}
	return v
}

func FuzzParseSearch(f *testing.F) {
	f.Add(`{ resource.service.name = "x" && duration > 100ms }`, `a=b c="d e"`)
	f.Add("{", `a="`)
	f.Fuzz(func(t *testing.T, q, tags string) {
		for _, v := range []url.Values{{"q": {q}}, {"tags": {tags}}} {
			s, err := parseSearch(v)
			if err == nil && s.Query == nil {
				t.Errorf("%q: neither a query nor an error", v)
			}
		}
	})
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1234: "1.23 µs", 999_499: "999 µs", 999_600: "1.00 ms",
		621 * time.Millisecond: "621 ms", 1240 * time.Millisecond: "1.24 s", 59900 * time.Millisecond: "59.9 s",
		59990 * time.Millisecond: "1m 00s", 123 * time.Second: "2m 03s", 3*time.Hour + 5*time.Minute: "3h 05m",
	} {
		testkit.Equal(t, d.String(), formatDuration(d), want)
	}
	testkit.Equal(t, "bytes", []string{formatBytes(0), formatBytes(1023), formatBytes(1536), formatBytes(256 << 20)},
		[]string{"0 B", "1023 B", "1.50 KiB", "256 MiB"})
	testkit.Equal(t, "count", []string{formatCount(0), formatCount(999), formatCount(uint64(1234567))}, []string{"0", "999", "1\u202f234\u202f567"})
}
