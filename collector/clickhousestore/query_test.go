package clickhousestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// hostile are texts that would change a query that they became a part of.
var hostile = []string{
	"'", `"`, "`", `\`, `\'`, `''`, "\x00", "\t", "\n", "\r", "\b\f\x1b", "'; DROP TABLE otel_traces; --", "') OR 1 = 1 --", "{p0:String}", "{p0:String", "}",
	"$$", "/*", "--", "\\N", "NULL", "[1,2]", "['a']", "(1,2)", "\xff\xfe", "größe 世界", strings.Repeat("'", 300), "?", "?1", "@a", ":a", "%s",
}

// A text comes back from ClickHouse as it was bound, alone and in a list.
func TestBoundTexts(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	texts := slices.Clone(hostile)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, r.IntN(30))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		texts = append(texts, string(b))
	}
	var p params
	var list []string
	var of string
	testkit.NoError(t, s.row(t.Context(), "SELECT "+p.texts(texts), p, &list))
	testkit.Equal(t, "list", fmt.Sprintf("%q", list), fmt.Sprintf("%q", texts))
	for _, text := range texts {
		p = nil
		testkit.NoError(t, s.row(t.Context(), "SELECT "+p.text(text), p, &of))
		testkit.Equal(t, "text", fmt.Sprintf("%q", of), fmt.Sprintf("%q", text))
	}
}

// A name of a database or a table is quoted.
func TestQuoted(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	for _, name := range hostile {
		if strings.ContainsRune(name, 0) {
			continue // no name has it
		}
		testkit.NoError(t, s.each(t.Context(), "SELECT 1 AS "+quoted(name), nil, func(rows driver.Rows) error {
			testkit.Equal(t, "name", fmt.Sprintf("%q", rows.Columns()), fmt.Sprintf("%q", []string{name}))
			return nil
		}))
	}
}

var (
	placeholder = regexp.MustCompile(`\{p\d+:(String|Int64|Array\(String\))\}`)
	// vocabulary are the words of conditions and groups.
	vocabulary = regexp.MustCompile(`^(ServiceName|SpanName|SpanKind|StatusCode|Duration|Timestamp|SpanAttributes|ResourceAttributes|ScopeName|ScopeVersion|DendroTypes|DendroSpan|DendroResource|` +
		`AND|OR|IN|AS|Error|STATUS_CODE_ERROR|has|mapContains|mapKeys|mapValues|arrayExists|indexOf|substring|if|toUInt64|toInt64|toInt32|intDiv|ceil|log2|1e9|` +
		`fromUnixTimestamp64Nano|toUnixTimestamp64Nano|argMin|min|max|sum|count|TraceId|SpanId|service|name|x|k\d*|v|\d+)$`)
)

// Whatever a query says, it changes only the parameters.
func FuzzInjection(f *testing.F) {
	for _, text := range hostile {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		h := collector.SpanHints{
			Services: []string{value}, Names: []string{value}, Keys: []string{key}, Errors: true, MinDuration: 1,
			Values: []slog.Attr{slog.String(key, value), slog.Int(key, len(value)), slog.Float64(key, .5)}, Texts: []slog.Attr{slog.String(key, value)},
		}
		check := func(h *collector.SpanHints) {
			var p params
			var sql []string
			sql = append(sql, (&tables{}).where(h, &p))
			g := grouper{c: collector.SpanCount{Name: true, Kind: true, Status: true, Service: true, Scope: true, Resource: true, DurationBuckets: 8, Step: 1, Attributes: []string{key}},
				ours: true, texts: make([]string, 1), types: make([]string, 1), has: make([]bool, 1)}
			g.prepare(&p)
			for _, text := range append(sql, g.columns...) {
				for _, word := range regexp.MustCompile(`\W+`).Split(placeholder.ReplaceAllString(text, " "), -1) {
					if word != "" && !vocabulary.MatchString(word) {
						t.Fatalf("%q and %q become a part of %s: %q", key, value, text, word)
					}
				}
			}
		}
		check(&h)
		quote := func(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
		for _, text := range []string{value, "{ span." + quote(key) + " = " + quote(value) + " && name =~ " + quote(value) + " }"} {
			q, err := traceql.Parse(text)
			if err != nil {
				continue
			}
			hints := q.Scan().Hints
			for i := range hints.Spans {
				check(&hints.Spans[i])
			}
		}
	})
}

// A query whose context is done ends in ClickHouse, too.
func TestCanceledQueryEnds(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	const slow = "SELECT sleepEachRow(0.1) AS slow_query FROM numbers(1000) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 1000000000"
	running := func() bool {
		var n uint64
		testkit.NoError(t, s.row(t.Context(), "SELECT count() FROM system.processes WHERE query LIKE '%slow_query%' AND query NOT LIKE '%system.processes%'", nil, &n))
		return n > 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.each(ctx, slow, nil, func(driver.Rows) error { return nil }) }()
	waitFor(t, running)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	waitFor(t, func() bool { return !running() })
}

// A query that takes too long, or too much memory, ends with an error.
func TestQueryBounds(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{MaxQueryTime: time.Second, MaxQueryMemory: 16 << 20})
	for query, want := range map[string]string{
		"SELECT count() FROM numbers(1e18) WHERE NOT ignore(sipHash64(number))": "TIMEOUT_EXCEEDED",
		"SELECT length(groupArray(number)) FROM numbers(1e8)":                   "MEMORY_LIMIT_EXCEEDED",
	} {
		var n uint64
		err := s.row(t.Context(), query, nil, &n)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %s", query, err, want)
		}
	}
}
