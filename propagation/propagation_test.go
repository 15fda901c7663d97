package propagation_test

import (
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/propagation"
)

const (
	traceID = "80f198ee56343ba864fe8b2a57d3eff7"
	lowID   = "64fe8b2a57d3eff7" // its last 64 bits
	spanID  = "05e3ac9a4f6e3b90"
	parent  = "e457b5a2e4d86bd1"
	// The same ids in decimal.
	lowDecimal  = "7277407061855694839"
	spanDecimal = "424372568660523920"

	sampled  = "sampled"
	denied   = "not sampled"
	deferred = "deferred"
)

// context returns the span context with the given ids.
func context(t testing.TB, trace, span, state string) dendro.SpanContext {
	t.Helper()
	if state == "" {
		return dendro.SpanContext{}
	}
	id, err := dendro.ParseTraceID(strings.Repeat("0", 32-len(trace)) + trace)
	testkit.NoError(t, err)
	sc := dendro.SpanContext{TraceID: id, Deferred: state == deferred}
	sc.SpanID, err = dendro.ParseSpanID(span)
	testkit.NoError(t, err)
	if state == sampled {
		sc.Flags = dendro.FlagSampled
	}
	return sc
}

// headers makes a header map from "name: value" lines.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

type extraction struct {
	name   string
	header http.Header
	trace  string // of what is read
	state  string // "" if nothing is read
}

func testExtract(t *testing.T, p dendro.Propagator, cases []extraction) {
	for _, c := range cases {
		sc, baggage := p.Extract(c.header)
		testkit.Equal(t, c.name, sc, context(t, c.trace, spanID, c.state))
		testkit.Equal(t, c.name+": baggage", baggage.Len(), 0)
	}
}

func TestB3ExtractSingle(t *testing.T) {
	ids := traceID + "-" + spanID
	testExtract(t, propagation.B3{}, []extraction{
		{"the example of the specification", headers("b3: " + ids + "-1-" + parent), traceID, sampled},
		{"debug", headers("b3: " + ids + "-d"), traceID, sampled},
		{"deny", headers("b3: " + ids + "-0"), traceID, denied},
		{"defer", headers("b3: " + ids), traceID, deferred},
		{"64 bits", headers("b3: " + lowID + "-" + spanID + "-1"), lowID, sampled},
		{"none", headers(), "", ""},
		{"empty", headers("b3: "), "", ""},
		{"deny without ids", headers("b3: 0"), "", ""},
		{"accept without ids", headers("b3: 1"), "", ""},
		{"only a trace id", headers("b3: " + traceID), "", ""},
		{"no span id", headers("b3: " + traceID + "-"), "", ""},
		{"empty state", headers("b3: " + ids + "-"), "", ""},
		{"unknown state", headers("b3: " + ids + "-2"), "", ""},
		{"a state of multiple headers", headers("b3: " + ids + "-true"), "", ""},
		{"debug in upper case", headers("b3: " + ids + "-D"), "", ""},
		{"parent without state", headers("b3: " + ids + "-" + parent), "", ""},
		{"empty state and parent", headers("b3: " + ids + "--" + parent), "", ""},
		{"empty parent", headers("b3: " + ids + "-1-"), "", ""},
		{"short parent", headers("b3: " + ids + "-1-e457"), "", ""},
		{"a fifth part", headers("b3: " + ids + "-1-" + parent + "-1"), "", ""},
		{"upper-case trace id", headers("b3: " + strings.ToUpper(traceID) + "-" + spanID + "-1"), "", ""},
		{"upper-case span id", headers("b3: " + traceID + "-" + strings.ToUpper(spanID) + "-1"), "", ""},
		{"zero trace id", headers("b3: " + strings.Repeat("0", 32) + "-" + spanID + "-1"), "", ""},
		{"zero trace id of 64 bits", headers("b3: " + strings.Repeat("0", 16) + "-" + spanID + "-1"), "", ""},
		{"zero span id", headers("b3: " + traceID + "-" + strings.Repeat("0", 16) + "-1"), "", ""},
		{"96 bits", headers("b3: " + traceID[:24] + "-" + spanID + "-1"), "", ""},
		{"short span id", headers("b3: " + traceID + "-" + spanID[1:] + "-1"), "", ""},
		{"blank", headers("b3: " + ids + "-1 "), "", ""},
		{"very long", headers("b3: " + ids + strings.Repeat("-", 1<<20)), "", ""},
		{"twice", headers("b3: "+ids+"-1", "b3: "+ids+"-1"), "", ""},
		{"wins over multiple headers", headers("b3: "+ids+"-0", "X-B3-TraceId: "+parent, "X-B3-SpanId: "+parent, "X-B3-Sampled: 1"), traceID, denied},
		{"malformed: multiple headers", headers("b3: x", "X-B3-TraceId: "+traceID, "X-B3-SpanId: "+spanID, "X-B3-Sampled: 1"), traceID, sampled},
		{"no ids: multiple headers", headers("b3: 0", "X-B3-TraceId: "+traceID, "X-B3-SpanId: "+spanID, "X-B3-Sampled: 1"), traceID, sampled},
	})
}

func TestB3ExtractMulti(t *testing.T) {
	multi := func(more ...string) http.Header {
		return headers(append([]string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: " + spanID}, more...)...)
	}
	testExtract(t, propagation.B3{Multi: true}, []extraction{
		{"the example of the specification", multi("X-B3-ParentSpanId: "+parent, "X-B3-Sampled: 1"), traceID, sampled},
		{"deny", multi("X-B3-Sampled: 0"), traceID, denied},
		{"defer", multi(), traceID, deferred},
		{"true", multi("X-B3-Sampled: true"), traceID, sampled},
		{"false", multi("X-B3-Sampled: False"), traceID, denied},
		{"debug", multi("X-B3-Flags: 1"), traceID, sampled},
		{"debug implies accept", multi("X-B3-Flags: 1", "X-B3-Sampled: 0"), traceID, sampled},
		{"flags that say nothing", multi("X-B3-Flags: 0"), traceID, deferred},
		{"the first of two states", multi("X-B3-Sampled: 0", "X-B3-Sampled: 1"), traceID, denied},
		{"64 bits", headers("X-B3-TraceId: "+lowID, "X-B3-SpanId: "+spanID, "X-B3-Sampled: 1"), lowID, sampled},
		{"the parent is not looked at", multi("X-B3-ParentSpanId: x", "X-B3-Sampled: 1"), traceID, sampled},
		{"unknown state", multi("X-B3-Sampled: 2"), "", ""},
		{"the state of the single header", multi("X-B3-Sampled: d"), "", ""},
		{"only a state", headers("X-B3-Sampled: 1"), "", ""},
		{"no span id", headers("X-B3-TraceId: "+traceID, "X-B3-Sampled: 1"), "", ""},
		{"no trace id", headers("X-B3-SpanId: "+spanID, "X-B3-Sampled: 1"), "", ""},
		{"two trace ids", multi("X-B3-TraceId: " + traceID), "", ""},
		{"two span ids", multi("X-B3-SpanId: " + spanID), "", ""},
		{"upper-case trace id", headers("X-B3-TraceId: "+strings.ToUpper(traceID), "X-B3-SpanId: "+spanID), "", ""},
	})
}

func TestDatadogExtract(t *testing.T) {
	const high = "80f198ee56343ba8"
	ids := func(more ...string) http.Header {
		return headers(append([]string{"x-datadog-trace-id: " + lowDecimal, "x-datadog-parent-id: " + spanDecimal}, more...)...)
	}
	tags := func(value string) http.Header { return ids("x-datadog-sampling-priority: 1", "x-datadog-tags: "+value) }
	testExtract(t, propagation.Datadog{}, []extraction{
		{"128 bits", tags("_dd.p.tid=" + high), traceID, sampled},
		{"among other tags", tags("_dd.p.dm=-1,_dd.p.tid=" + high + ",_dd.p.x=y=z"), traceID, sampled},
		{"64 bits", ids("x-datadog-sampling-priority: 1"), lowID, sampled},
		{"user keep", ids("x-datadog-sampling-priority: 2"), lowID, sampled},
		{"reject", ids("x-datadog-sampling-priority: 0"), lowID, denied},
		{"user reject", ids("x-datadog-sampling-priority: -1"), lowID, denied},
		{"no priority", ids(), lowID, deferred},
		{"upper-case digits", tags("_dd.p.tid=" + strings.ToUpper(high)), lowID, sampled},
		{"short", tags("_dd.p.tid=" + high[1:]), lowID, sampled},
		{"zero", tags("_dd.p.tid=0000000000000000"), lowID, sampled},
		{"no value", tags("_dd.p.tid"), lowID, sampled},
		{"another tag", tags("a_dd.p.tid=" + high), lowID, sampled},
		{"malformed tags", tags(",,=,_dd.p.tid=" + high), traceID, sampled},
		{"tags of 512 bytes", tags("_dd.p.tid=" + high + ",k=" + strings.Repeat("v", 512-29)), traceID, sampled},
		{"tags of 513 bytes", tags("_dd.p.tid=" + high + ",k=" + strings.Repeat("v", 513-29)), lowID, sampled},
		{"leading zeros", headers("x-datadog-trace-id: 0"+lowDecimal, "x-datadog-parent-id: 00"+spanDecimal), lowID, deferred},
		{"none", headers(), "", ""},
		{"no trace id", headers("x-datadog-parent-id: " + spanDecimal), "", ""},
		{"no parent id", headers("x-datadog-trace-id: " + lowDecimal), "", ""},
		{"zero parent id", headers("x-datadog-trace-id: "+lowDecimal, "x-datadog-parent-id: 0"), "", ""},
		{"zero trace id", headers("x-datadog-trace-id: 0", "x-datadog-parent-id: "+spanDecimal), "", ""},
		{"hexadecimal", headers("x-datadog-trace-id: "+lowID, "x-datadog-parent-id: "+spanDecimal), "", ""},
		{"sign", headers("x-datadog-trace-id: +1", "x-datadog-parent-id: "+spanDecimal), "", ""},
		{"more than 64 bits", headers("x-datadog-trace-id: 18446744073709551616", "x-datadog-parent-id: "+spanDecimal), "", ""},
		{"too long", headers("x-datadog-trace-id: "+strings.Repeat("0", 21), "x-datadog-parent-id: "+spanDecimal), "", ""},
		{"two trace ids", ids("x-datadog-trace-id: " + lowDecimal), "", ""},
		{"malformed priority", ids("x-datadog-sampling-priority: high"), "", ""},
		{"very long priority", ids("x-datadog-sampling-priority: " + strings.Repeat("0", 21)), "", ""},
		{"the first of two priorities", ids("x-datadog-sampling-priority: 0", "x-datadog-sampling-priority: 1"), lowID, denied},
	})
	sc, _ := propagation.Datadog{}.Extract(headers("x-datadog-trace-id: 18446744073709551615", "x-datadog-parent-id: 18446744073709551615"))
	testkit.Equal(t, "the largest ids", sc.Traceparent(), "00-0000000000000000ffffffffffffffff-ffffffffffffffff-00")
}

func TestAppdashExtract(t *testing.T) {
	testExtract(t, propagation.Appdash{}, []extraction{
		{"root", headers("Span-ID: " + lowID + "/" + spanID), lowID, deferred},
		{"child", headers("Span-ID: " + lowID + "/" + spanID + "/" + parent), lowID, deferred},
		{"Parent-Span-ID", headers("Parent-Span-ID: " + lowID + "/" + spanID), lowID, deferred},
		{"both", headers("Span-ID: "+lowID+"/"+spanID, "Parent-Span-ID: "+parent+"/"+parent), lowID, deferred},
		{"an empty Span-ID", headers("Span-ID: ", "Parent-Span-ID: "+lowID+"/"+spanID), lowID, deferred},
		{"short ids, as Appdash reads them", headers("Span-ID: 64/" + strings.TrimLeft(spanID, "0")), "64", deferred},
		{"upper case, as Appdash reads it", headers("Span-ID: " + strings.ToUpper(lowID) + "/" + spanID), lowID, deferred},
		{"parent of zero", headers("Span-ID: " + lowID + "/" + spanID + "/0"), lowID, deferred},
		{"none", headers(), "", ""},
		{"a malformed Span-ID wins", headers("Span-ID: x", "Parent-Span-ID: "+lowID+"/"+spanID), "", ""},
		{"two", headers("Span-ID: "+lowID+"/"+spanID, "Span-ID: "+lowID+"/"+spanID), "", ""},
		{"one part", headers("Span-ID: " + lowID), "", ""},
		{"four parts", headers("Span-ID: " + lowID + "/" + spanID + "/" + parent + "/1"), "", ""},
		{"empty parent", headers("Span-ID: " + lowID + "/" + spanID + "/"), "", ""},
		{"zero trace id", headers("Span-ID: 0/" + spanID), "", ""},
		{"zero span id", headers("Span-ID: " + lowID + "/0"), "", ""},
		{"17 digits", headers("Span-ID: 0" + lowID + "/" + spanID), "", ""},
		{"128 bits", headers("Span-ID: " + traceID + "/" + spanID), "", ""},
		{"no hexadecimal", headers("Span-ID: " + lowID + "/0x1"), "", ""},
		{"very long", headers("Span-ID: " + lowID + "/" + spanID + strings.Repeat("/", 1<<20)), "", ""},
	})
}

func TestInject(t *testing.T) {
	const ids = traceID + "-" + spanID
	old := func() http.Header { // of a request that is passed on
		return headers("b3: "+lowID+"-"+parent+"-0", "X-B3-TraceId: "+lowID, "X-B3-SpanId: "+parent, "X-B3-ParentSpanId: "+parent, "X-B3-Sampled: 0", "X-B3-Flags: 1",
			"x-datadog-trace-id: 1", "x-datadog-parent-id: 2", "x-datadog-sampling-priority: 0", "x-datadog-tags: _dd.p.tid=1234567812345678",
			"Span-ID: 1/2", "Unrelated: 1")
	}
	datadog := []string{"x-datadog-trace-id: " + lowDecimal, "x-datadog-parent-id: " + spanDecimal}
	multi := []string{"X-B3-TraceId: " + traceID, "X-B3-SpanId: " + spanID}
	for _, c := range []struct {
		name  string
		p     dendro.Propagator
		trace string
		state string
		want  []string
	}{
		{"B3", propagation.B3{}, traceID, sampled, []string{"b3: " + ids + "-1"}},
		{"B3, not sampled", propagation.B3{}, traceID, denied, []string{"b3: " + ids + "-0"}},
		{"B3, deferred", propagation.B3{}, traceID, deferred, []string{"b3: " + ids}},
		{"B3, 64 bits", propagation.B3{}, lowID, sampled, []string{"b3: 0000000000000000" + lowID + "-" + spanID + "-1"}},
		{"Multi", propagation.B3{Multi: true}, traceID, sampled, append(multi, "X-B3-Sampled: 1")},
		{"Multi, not sampled", propagation.B3{Multi: true}, traceID, denied, append(multi, "X-B3-Sampled: 0")},
		{"Multi, deferred", propagation.B3{Multi: true}, traceID, deferred, multi},
		{"Datadog", propagation.Datadog{}, traceID, sampled, append(datadog, "x-datadog-sampling-priority: 1", "x-datadog-tags: _dd.p.tid=80f198ee56343ba8")},
		{"Datadog, 64 bits, not sampled", propagation.Datadog{}, lowID, denied, append(datadog, "x-datadog-sampling-priority: 0")},
		{"Datadog, deferred", propagation.Datadog{}, lowID, deferred, datadog},
		{"Appdash", propagation.Appdash{}, traceID, sampled, []string{"Span-ID: " + lowID + "/" + spanID}},
		{"Appdash, last bits zero", propagation.Appdash{}, "80f198ee56343ba80000000000000000", sampled, nil},
		{"no span", propagation.Composite(propagation.B3{}, propagation.B3{Multi: true}, propagation.Datadog{}, propagation.Appdash{}), "", "", nil},
	} {
		sc := context(t, c.trace, spanID, c.state)
		header := http.Header{}
		c.p.Inject(header, sc, dendro.Baggage{})
		testkit.Equal(t, c.name, header, headers(c.want...))

		if len(c.want) == 0 {
			continue
		}
		again := old()
		c.p.Inject(again, sc, dendro.Baggage{})
		got, _ := c.p.Extract(again)
		want, _ := c.p.Extract(header)
		testkit.Equal(t, c.name+": replaces", got, want)
		testkit.Equal(t, c.name+": leaves alone", again.Get("Unrelated"), "1")
	}
	header := old()
	propagation.B3{Multi: true}.Inject(header, context(t, traceID, spanID, deferred), dendro.Baggage{})
	testkit.Equal(t, "the parent of somebody else", header.Values("X-B3-ParentSpanId"), []string(nil))
	testkit.Equal(t, "the state of somebody else", header.Values("X-B3-Sampled"), []string(nil))
	testkit.Equal(t, "the debug flag of somebody else", header.Values("X-B3-Flags"), []string(nil))
}

// Header values share no memory: appending to one does not overwrite another.
func TestInjectedValuesAreApart(t *testing.T) {
	for _, p := range []dendro.Propagator{propagation.B3{}, propagation.B3{Multi: true}, propagation.Datadog{}, propagation.Appdash{}} {
		header, want := http.Header{}, http.Header{}
		sc := context(t, traceID, spanID, sampled)
		p.Inject(header, sc, dendro.Baggage{})
		p.Inject(want, sc, dendro.Baggage{})
		for name := range header {
			header.Add(name, "more")
			want[name] = append(want[name][:1:1], "more")
		}
		testkit.Equal(t, "values", header, want)
	}
}

func TestComposite(t *testing.T) {
	all := propagation.Composite(dendro.W3C{}, propagation.B3{}, propagation.Datadog{})
	sc := context(t, traceID, spanID, sampled)
	baggage, err := dendro.ParseBaggage("a=1")
	testkit.NoError(t, err)
	header := http.Header{}
	all.Inject(header, sc, baggage)
	for _, name := range []string{"traceparent", "baggage", "b3", "x-datadog-trace-id"} {
		testkit.Equal(t, name, len(header.Values(name)), 1)
	}
	for _, gone := range []string{"", "traceparent", "b3"} {
		header.Del(gone)
		got, bag := all.Extract(header)
		testkit.Equal(t, "span without "+gone, got, sc)
		testkit.Equal(t, "baggage without "+gone, bag.String(), "a=1")
	}
	header.Set("b3", traceID+"-"+parent)
	got, _ := all.Extract(header)
	testkit.Equal(t, "the first valid one", got, context(t, traceID, parent, deferred))

	got, bag := propagation.Composite().Extract(header)
	testkit.Equal(t, "nothing", got.IsValid() || bag.Len() > 0, false)
}

func TestFromEnv(t *testing.T) {
	var log strings.Builder
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	sc := context(t, traceID, spanID, sampled)
	baggage, err := dendro.ParseBaggage("a=1")
	testkit.NoError(t, err)
	w3c := "Baggage Traceparent"
	for list, want := range map[string]string{
		"":                           w3c,
		" , ":                        w3c,
		"tracecontext,baggage":       w3c,
		"tracecontext":               "Traceparent",
		"baggage":                    "Baggage",
		"b3":                         "B3",
		"b3multi":                    "X-B3-Sampled X-B3-Spanid X-B3-Traceid",
		"datadog":                    "X-Datadog-Parent-Id X-Datadog-Sampling-Priority X-Datadog-Tags X-Datadog-Trace-Id",
		"appdash":                    "Span-Id",
		" b3 , tracecontext,baggage": "B3 Baggage Traceparent",
		"none":                       "",
		"none,b3":                    "B3",
		"b3,jaeger":                  "B3",
		"jaeger":                     w3c,
	} {
		log.Reset()
		t.Setenv("OTEL_PROPAGATORS", list)
		header := http.Header{}
		propagation.FromEnv().Inject(header, sc, baggage)
		testkit.Equal(t, list, strings.Join(slices.Sorted(maps.Keys(header)), " "), want)
		testkit.Equal(t, list+": warns", strings.Contains(log.String(), "jaeger"), strings.Contains(list, "jaeger"))
		testkit.Equal(t, list+": names what it knows", strings.Contains(log.String(), "b3multi, datadog, appdash"), strings.Contains(list, "jaeger"))
	}

	t.Setenv("OTEL_PROPAGATORS", "b3,baggage,b3,baggage")
	testkit.Equal(t, "without duplicates", propagation.FromEnv(), propagation.Composite(propagation.B3{}, dendro.W3C{NoTraceContext: true}))
}

func TestAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates by itself")
	}
	sc := context(t, traceID, spanID, sampled)
	for _, c := range []struct {
		name   string
		p      dendro.Propagator
		inject float64
	}{
		{"B3", propagation.B3{}, 2},
		{"B3 Multi", propagation.B3{Multi: true}, 2},
		{"Datadog", propagation.Datadog{}, 2},
		{"Appdash", propagation.Appdash{}, 2},
		{"Composite", propagation.Composite(dendro.W3C{}, propagation.B3{}), 4},
	} {
		header := http.Header{}
		inject := func() { c.p.Inject(header, sc, dendro.Baggage{}) }
		if got := testing.AllocsPerRun(100, inject); got > c.inject {
			t.Errorf("%s: Inject: %v allocations, want at most %v", c.name, got, c.inject)
		}
		if got := testing.AllocsPerRun(100, func() { c.p.Extract(header) }); got > 0 {
			t.Errorf("%s: Extract: %v allocations", c.name, got)
		}
	}
}

// roundTrip checks that to can write and read again what from reads from header.
func roundTrip(t *testing.T, from, to dendro.Propagator, header http.Header) {
	sc, _ := from.Extract(header)
	switch {
	case sc == dendro.SpanContext{}:
		return
	case !sc.IsValid(), sc.Deferred && sc.Flags.Sampled():
		t.Fatalf("%v became %+v", header, sc)
	}
	again := http.Header{}
	to.Inject(again, sc, dendro.Baggage{})
	if got, _ := to.Extract(again); got != sc {
		t.Fatalf("%v became %+v, then %v and %+v", header, sc, again, got)
	}
}

func FuzzB3(f *testing.F) {
	f.Add(traceID+"-"+spanID+"-1-"+parent, "", "", "", "")
	f.Add(lowID+"-"+spanID+"-d", "", "", "", "")
	f.Add("0", traceID, spanID, "1", "")
	f.Add("", lowID, spanID, "", "1")
	f.Fuzz(func(t *testing.T, single, trace, span, state, flags string) {
		header := http.Header{"B3": {single}, "X-B3-Traceid": {trace}, "X-B3-Spanid": {span}, "X-B3-Sampled": {state}, "X-B3-Flags": {flags}}
		roundTrip(t, propagation.B3{}, propagation.B3{}, header)
		roundTrip(t, propagation.B3{}, propagation.B3{Multi: true}, header)
	})
}

func FuzzDatadog(f *testing.F) {
	f.Add(lowDecimal, spanDecimal, "1", "_dd.p.tid=80f198ee56343ba8")
	f.Add(lowDecimal, spanDecimal, "-1", "_dd.p.dm=-1,_dd.p.tid=1")
	f.Add("0", spanDecimal, "", "_dd.p.tid=80f198ee56343ba8")
	f.Fuzz(func(t *testing.T, trace, span, priority, tags string) {
		roundTrip(t, propagation.Datadog{}, propagation.Datadog{}, http.Header{
			"X-Datadog-Trace-Id": {trace}, "X-Datadog-Parent-Id": {span}, "X-Datadog-Sampling-Priority": {priority}, "X-Datadog-Tags": {tags},
		})
	})
}

func FuzzAppdash(f *testing.F) {
	f.Add(lowID+"/"+spanID+"/"+parent, "")
	f.Add("", "64/96")
	f.Fuzz(func(t *testing.T, span, parent string) {
		roundTrip(t, propagation.Appdash{}, propagation.Appdash{}, http.Header{"Span-Id": {span}, "Parent-Span-Id": {parent}})
	})
}
