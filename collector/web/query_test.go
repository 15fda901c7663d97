package web

import (
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestParseQuery(t *testing.T) {
	for _, test := range []struct {
		query string
		want  collector.Query
	}{
		{"", collector.Query{}},
		{"limit=7&start=10&end=20&minDuration=5ms&maxDuration=1.5s", collector.Query{
			Limit: 7, Start: time.Unix(10, 0), End: time.Unix(21, 0), MinDuration: 5 * time.Millisecond, MaxDuration: 1500 * time.Millisecond}},
		{"service=shop&name=GET /&error=true&minDuration=&tags= ", collector.Query{Service: "shop", Name: "GET /", ErrorsOnly: true}},
		{`tags=service.name=shop http.response.status_code=500 name="GET /" error=true`, collector.Query{
			Service: "shop", Name: "GET /", ErrorsOnly: true, Tags: []slog.Attr{slog.String("http.response.status_code", "500")}}},
		{`tags=a="say \"hi\" = now"  status=error b=`, collector.Query{
			ErrorsOnly: true, Tags: []slog.Attr{slog.String("a", `say "hi" = now`), slog.String("b", "")}}},
		{"q={}", collector.Query{}},
		{`q={ .status = "x" && span.name = "y" }`, collector.Query{Tags: []slog.Attr{slog.String("status", "x"), slog.String("name", "y")}}},
		{"q={ true }", collector.Query{}},
		{`q={ resource.service.name = "x" && name = "y z" && duration > 100ms && status = error && .http.route = "/x" }`, collector.Query{
			Service: "x", Name: "y z", ErrorsOnly: true, MinDuration: 100*time.Millisecond + 1, Tags: []slog.Attr{slog.String("http.route", "/x")}}},
		{"q={span.n=5&&span.ok=true&&trace:duration<=2s&&duration>=1s&&span.s=`a\"b`}", collector.Query{
			MinDuration: time.Second, MaxDuration: 2 * time.Second,
			Tags: []slog.Attr{slog.String("n", "5"), slog.String("ok", "true"), slog.String("s", `a"b`)}}},
	} {
		got, err := parseQuery(valuesOf(test.query))
		testkit.NoError(t, err)
		testkit.Equal(t, test.query, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", test.want))
	}
}

func TestParseQueryErrors(t *testing.T) {
	for query, want := range map[string]string{
		"limit=0":                                 "limit: ",
		"limit=1001":                              "from 1 to 1000",
		"limit=many":                              "limit: ",
		"start=yesterday":                         "Unix seconds",
		"end=-1":                                  "Unix seconds",
		"minDuration=5":                           "such as 100ms",
		"maxDuration=-5s":                         "such as 100ms",
		"minDuration=2s&maxDuration=1s":           "longer than",
		"error=perhaps":                           "true or false",
		"tags=shop":                               "key=value",
		"tags==x":                                 "key=value",
		`tags=a="b`:                               "closing quote",
		`tags=a="b"c=d`:                           "space is missing",
		"tags=status=ok":                          "status=ok cannot be searched for",
		"tags=service.name=a service.name=b":      "given twice",
		"q=status=error":                          "begin with {",
		"q={ status=error":                        "&& or }",
		"q={ status=error || name=`x` }":          "only conditions joined by &&",
		"q={ status=error } | count() > 2":        "only one span set",
		"q={ name=~`a.*` }":                       "only = is supported",
		"q={ name= }":                             "value is missing",
		"q={ name=\"x }":                          "closing quote",
		"q={ kind=server }":                       "kind is not supported",
		"q={ nestedSetParent<0 }":                 "only = is supported",
		"q={ duration>2s && duration<1s }":        "no duration",
		"q={ duration!=1s }":                      "not supported",
		"q={ status=ok }":                         "only status=error can",
		"q={ && }":                                "expected a condition",
		"service=a&q={resource.service.name=`b`}": "given twice",
	} {
		if _, err := parseQuery(valuesOf(query)); err == nil || !strings.Contains(err.Error(), want) {
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

func FuzzParseQuery(f *testing.F) {
	f.Add(`{ resource.service.name = "x" && duration > 100ms }`, `a=b c="d e"`)
	f.Add("{", `a="`)
	f.Fuzz(func(t *testing.T, q, tags string) {
		for _, v := range []url.Values{{"q": {q}}, {"tags": {tags}}} {
			query, err := parseQuery(v)
			if err == nil && (query.MinDuration < 0 || query.MaxDuration < 0) {
				t.Errorf("%q: %+v", v, query)
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
