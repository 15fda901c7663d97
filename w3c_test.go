package dendro_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func TestParseTraceparent(t *testing.T) {
	for _, c := range []struct {
		in, out string // out is in, formatted as version 00, or "" if in is invalid
	}{
		{"00-" + traceID + "-" + spanID + "-01", "00-" + traceID + "-" + spanID + "-01"},
		{"00-" + traceID + "-" + spanID + "-00", "00-" + traceID + "-" + spanID + "-00"},
		{"00-" + traceID + "-" + spanID + "-03", "00-" + traceID + "-" + spanID + "-03"},
		{"00-" + traceID + "-" + spanID + "-ff", "00-" + traceID + "-" + spanID + "-03"}, // unknown flags are not passed on
		{"01-" + traceID + "-" + spanID + "-01", "00-" + traceID + "-" + spanID + "-01"}, // a later version
		{"cc-" + traceID + "-" + spanID + "-01-what-comes-then", "00-" + traceID + "-" + spanID + "-01"},
		{"cc-" + traceID + "-" + spanID + "-01.what-comes-then", ""},
		{"00-" + traceID + "-" + spanID + "-01-", ""}, // version 00 has no more fields
		{"00-" + traceID + "-" + spanID + "-01-00", ""},
		{"ff-" + traceID + "-" + spanID + "-01", ""}, // forbidden
		{"0-" + traceID + "-" + spanID + "-01", ""},
		{"", ""},
		{"00", ""},
		{"00-" + traceID + "-" + spanID, ""},
		{"00-" + traceID + "-" + spanID + "-1", ""},
		{"00-" + traceID + "-" + spanID + "-0x", ""},
		{"00-" + strings.Repeat("0", 32) + "-" + spanID + "-01", ""},
		{"00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", ""},
		{"00-" + traceID + "-" + strings.ToUpper(spanID) + "-01", ""},
		{"00-" + traceID + "_" + spanID + "-01", ""},
		{"0X-" + traceID + "-" + spanID + "-01", ""},
	} {
		sc, err := dendro.ParseTraceparent(c.in)
		testkit.Equal(t, c.in, sc.Traceparent(), c.out)
		testkit.Equal(t, c.in+" is refused", err != nil, c.out == "")
	}
}

func FuzzParseTraceparent(f *testing.F) {
	f.Add("00-" + traceID + "-" + spanID + "-01")
	f.Add("cc-" + traceID + "-" + spanID + "-01-x")
	f.Fuzz(func(t *testing.T, in string) {
		sc, err := dendro.ParseTraceparent(in)
		if err != nil {
			if sc != (dendro.SpanContext{}) {
				t.Fatal("an error and a span context")
			}
			return
		}
		again, err := dendro.ParseTraceparent(sc.Traceparent())
		if err != nil || again != sc {
			t.Fatalf("%q became %q and then %v, %v", in, sc.Traceparent(), again, err)
		}
	})
}

// members returns a list of n members with different keys.
func members(n int) string {
	var s []string
	for i := range n {
		s = append(s, "k"+strings.Repeat("x", i)+"=v")
	}
	return strings.Join(s, ",")
}

// Ids are formatted like package fmt does, for all bytes.
func TestHexadecimal(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 2000 {
		sc := dendro.SpanContext{Flags: dendro.TraceFlags(n)}
		for i := range sc.TraceID {
			sc.TraceID[i] = byte(r.Uint32())
		}
		for i := range sc.SpanID {
			sc.SpanID[i] = byte(n + i) // puts every byte value at every position
		}
		trace, span := fmt.Sprintf("%x", sc.TraceID[:]), fmt.Sprintf("%x", sc.SpanID[:])
		testkit.Equal(t, "trace id", sc.TraceID.String(), trace)
		testkit.Equal(t, "span id", sc.SpanID.String(), span)
		testkit.Equal(t, "traceparent", sc.Traceparent(), fmt.Sprintf("00-%s-%s-%02x", trace, span, n&3))
		testkit.Equal(t, "appended", string(sc.AppendTraceparent([]byte("x"))), "x"+sc.Traceparent())
		if t.Failed() {
			return
		}
	}
}

func TestParseTraceState(t *testing.T) {
	long := strings.Repeat("v", 256)
	for _, c := range []struct {
		name, in, out string
		ok            bool
	}{
		{"empty", "", "", true},
		{"only blanks", " \t ", "", true},
		{"two", "foo=1,bar=2", "foo=1,bar=2", true},
		{"blanks and empty members", " foo=1 \t,, bar=2,", "foo=1,bar=2", true},
		{"a value with blanks inside", "foo=a b", "foo=a b", true},
		{"tenant", "0tenant@vendor=1", "0tenant@vendor=1", true},
		{"longest value", "foo=" + long, "foo=" + long, true},
		{"value too long", "foo=" + long + "v", "", false},
		{"key too long", strings.Repeat("k", 257) + "=1", "", false},
		{"32 members", members(32), members(32), true},
		{"33 members", members(33), "", false},
		{"32 members, some empty", "a=1" + strings.Repeat(",", 31), "a=1", true},
		{"33 members, most empty", "a=1" + strings.Repeat(",", 32), "", false},
		{"a key twice", "foo=1,bar=2,foo=3", "foo=1,bar=2", true},
		{"a key twice, one value", "foo=1,foo=1", "foo=1", true},
		{"a key twice, blanks", " foo=1 , foo=2 ,\tbar=1, foo=3 , bar=2", "foo=1,bar=1", true},
		{"a key twice, then an error", "foo=1,foo=2,BAR=1", "", false},
		{"a key twice, the second wrong", "foo=1,foo=", "", false},
		{"a key that begins like another", "foo=1,fo=2,foo@a=3", "foo=1,fo=2,foo@a=3", true},
		{"32 members, one key", strings.Repeat("a=1,", 31) + "a=2", "a=1", true},
		{"upper case", "Foo=1", "", false},
		{"no value", "foo=", "", false},
		{"no equals sign", "foo", "", false},
		{"no key", "=1", "", false},
		{"equals sign in value", "foo=1=2", "", false},
		{"not ASCII", "foo=é", "", false},
		{"blank before the equals sign", "foo =1", "", false},
		{"control character", "foo=\x01", "", false},
	} {
		ts, err := dendro.ParseTraceState(c.in)
		testkit.Equal(t, c.name, ts.String(), c.out)
		testkit.Equal(t, c.name+" accepted", err == nil, c.ok)
	}
}

func TestTraceStateSet(t *testing.T) {
	ts, err := dendro.ParseTraceState("a=1,b=2,c=3")
	testkit.NoError(t, err)
	ts, err = ts.Set("b", "new")
	testkit.NoError(t, err)
	testkit.Equal(t, "changed member goes to the front", ts.String(), "b=new,a=1,c=3")
	testkit.Equal(t, "Get", ts.Get("c"), "3")
	testkit.Equal(t, "Get of what is not there", ts.Get("z"), "")
	for _, value := range []string{"a,b", "blank at the end ", "", "a=b"} {
		if same, err := ts.Set("b", value); err == nil || same != ts {
			t.Errorf("%q was accepted", value)
		}
	}
	for i := range 40 {
		ts, err = ts.Set("k"+strings.Repeat("i", i), "v")
		testkit.NoError(t, err)
	}
	testkit.Equal(t, "members", strings.Count(ts.String(), ",")+1, 32)
}

func FuzzParseTraceState(f *testing.F) {
	f.Add("foo=1,bar=2")
	f.Add(" foo=1 ,, bar=2")
	f.Add("foo=1, foo=2,bar=1")
	f.Fuzz(func(t *testing.T, in string) {
		ts, err := dendro.ParseTraceState(in)
		if err != nil {
			return
		}
		again, err := dendro.ParseTraceState(ts.String())
		if err != nil || again != ts {
			t.Fatalf("%q became %q and then %q, %v", in, ts, again, err)
		}
		if len(ts.String()) > len(in) {
			t.Fatalf("%q grew to %q", in, ts)
		}
		keys := map[string]bool{}
		for member := range strings.SplitSeq(ts.String(), ",") {
			key, value, _ := strings.Cut(member, "=")
			if keys[key] || ts.Get(key) != value {
				t.Fatalf("%q became %q, which has %q twice", in, ts, key)
			}
			keys[key] = true
		}
	})
}

func TestParseBaggage(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		ok            bool
	}{
		{"empty", "", "", true},
		{"one", "userId=alice", "userId=alice", true},
		{"blanks", " userId = alice , serverNode = DF%2028 ", "userId=alice,serverNode=DF%2028", true},
		{"properties stay", "k=v;p1;p2=x", "k=v;p1;p2=x", true},
		{"UTF-8", "k=%C3%A4%e2%82%ac", "k=%C3%A4%E2%82%AC", true},
		{"not UTF-8 is replaced", "k=%ff", "k=%EF%BF%BD", true},
		{"empty value", "k=", "k=", true},
		{"equals sign in value", "k=a=b", "k=a=b", true},
		{"last of two holds", "k=1,l=2,k=3", "l=2,k=3", true},
		{"no equals sign", "k", "", false},
		{"no key", "=v", "", false},
		{"blank in key", "a b=v", "", false},
		{"blank in value", "k=a b", "", false},
		{"quote in value", `k="v"`, "", false},
		{"half an escape", "k=%2", "", false},
		{"no escape", "k=%zz", "", false},
		{"control character as a digit", "k=%\x10\x11", "", false},
		{"empty member", "a=1,,b=2", "", false},
		{"bad property", "k=v;a b", "", false},
		{"empty property", "k=v; ", "", false},
		{"empty property between", "k=v;a;;b", "", false},
		{"empty property at the end", "k=v;a;", "", false},
		{"too long", "k=" + strings.Repeat("v", 8192), "", false},
		{"one name many times", strings.Repeat("k=v,", 64) + "k=v", "k=v", true},
		{"64 names", members(64), members(64), true},
		{"65 names", members(65), "", false},
	} {
		b, err := dendro.ParseBaggage(c.in)
		testkit.Equal(t, c.name, b.String(), c.out)
		testkit.Equal(t, c.name+" accepted", err == nil, c.ok)
	}
}

func TestBaggageSet(t *testing.T) {
	var b dendro.Baggage
	b, err := b.Set("user", "Käthe, \"the\" 1%")
	testkit.NoError(t, err)
	testkit.Equal(t, "on the wire", b.String(), "user=K%C3%A4the%2C%20%22the%22%201%25")
	again, err := dendro.ParseBaggage(b.String())
	testkit.NoError(t, err)
	testkit.Equal(t, "value", again.Get("user"), "Käthe, \"the\" 1%")

	c, err := b.Set("other", "1")
	testkit.NoError(t, err)
	testkit.Equal(t, "the old one is untouched", b.Len(), 1)
	testkit.Equal(t, "deleted", c.Delete("user").String(), "other=1")

	for name, value := range map[string]string{"": "v", "a b": "v", "k": "\xff", "long": strings.Repeat("v", 8200)} {
		if _, err := b.Set(name, value); err == nil {
			t.Errorf("%q=%.10q was accepted", name, value)
		}
	}
}

func FuzzParseBaggage(f *testing.F) {
	f.Add("userId=alice,serverNode=DF%2028;prop=1")
	f.Fuzz(func(t *testing.T, in string) {
		b, err := dendro.ParseBaggage(in)
		if err != nil {
			return
		}
		again, err := dendro.ParseBaggage(b.String())
		if err != nil && len(b.String()) <= 8192 {
			t.Fatalf("%q became %q: %v", in, b, err)
		}
		if err == nil && again.String() != b.String() {
			t.Fatalf("%q became %q and then %q", in, b, again)
		}
	})
}

func TestInjectExtract(t *testing.T) {
	header := http.Header{}
	header.Set("traceparent", "00-"+traceID+"-"+spanID+"-01")
	header.Add("tracestate", "a=1")
	header.Add("tracestate", "b=2")
	header.Add("baggage", "user=alice")
	header.Add("baggage", "shop=7")
	sc, baggage := dendro.Extract(header)
	testkit.Equal(t, "parent", sc.Traceparent(), "00-"+traceID+"-"+spanID+"-01")
	testkit.Equal(t, "tracestate", sc.State.String(), "a=1,b=2")
	testkit.Equal(t, "baggage", baggage.String(), "user=alice,shop=7")

	tracer, recorder := testkit.NewTracer(t)
	ctx := dendro.ContextWithBaggage(context.Background(), baggage)
	ctx, span := tracer.StartWith(ctx, "GET /", dendro.StartOptions{Kind: dendro.KindServer, Parent: sc})
	out := http.Header{}
	dendro.Inject(ctx, out)
	span.End()
	testkit.Equal(t, "sent on", out, http.Header{
		"Traceparent": {span.Context().Traceparent()},
		"Tracestate":  {"a=1,b=2"},
		"Baggage":     {"user=alice,shop=7"},
	})
	got := recorder.Spans()[0]
	testkit.Equal(t, "trace id", got.TraceID.String(), traceID)
	testkit.Equal(t, "parent id", got.ParentID.String(), spanID)
	testkit.Equal(t, "remote", got.Remote, true)

	root, span := tracer.Start(background, "new trace")
	dendro.Inject(root, out)
	span.End()
	testkit.Equal(t, "no stale tracestate", out.Values("Tracestate"), []string(nil))

	nothing := http.Header{}
	dendro.Inject(context.Background(), nothing)
	testkit.Equal(t, "no span, no header", nothing, http.Header{})
}

func TestExtractMalformed(t *testing.T) {
	valid := "00-" + traceID + "-" + spanID + "-01"
	for _, c := range []struct {
		name   string
		header http.Header
		parent string
		state  string
	}{
		{"two traceparents", http.Header{"Traceparent": {valid, valid}}, "", ""},
		{"bad traceparent, good state", http.Header{"Traceparent": {"x"}, "Tracestate": {"a=1"}}, "", ""},
		{"bad state keeps the parent", http.Header{"Traceparent": {valid}, "Tracestate": {"a=1,B=2"}}, valid, ""},
		{"a key twice", http.Header{"Traceparent": {valid}, "Tracestate": {"foo=1,foo=2"}}, valid, "foo=1"},
		{"a key in two headers", http.Header{"Traceparent": {valid}, "Tracestate": {"foo=1", "foo=2"}}, valid, "foo=1"},
		{"the same in two headers", http.Header{"Traceparent": {valid}, "Tracestate": {"foo=1", "foo=1"}}, valid, "foo=1"},
		{"empty headers", http.Header{"Traceparent": {valid}, "Tracestate": {"", "foo=1", ""}}, valid, "foo=1"},
		{"bad baggage keeps the parent", http.Header{"Traceparent": {valid}, "Baggage": {"a b"}}, valid, ""},
		{"blanks around", http.Header{"Traceparent": {" " + valid + "\t"}}, valid, ""},
	} {
		sc, baggage := dendro.Extract(c.header)
		testkit.Equal(t, c.name, sc.Traceparent(), c.parent)
		testkit.Equal(t, c.name+": state", sc.State.String(), c.state)
		testkit.Equal(t, c.name+": baggage", baggage.Len(), 0)
	}
}

// shout is a format of its own.
type shout struct{}

func (shout) Inject(header map[string][]string, sc dendro.SpanContext, _ dendro.Baggage) {
	header["X-Shout"] = []string{sc.Traceparent()}
}

func (shout) Extract(header map[string][]string) (sc dendro.SpanContext, _ dendro.Baggage) {
	if v := header["X-Shout"]; len(v) == 1 {
		sc, _ = dendro.ParseTraceparent(v[0])
	}
	return sc, dendro.Baggage{}
}

func TestPropagatorOfTheTracer(t *testing.T) {
	tracer := dendro.New(dendro.Options{Propagator: shout{}})
	ctx, span := tracer.Start(background, "x")
	defer span.End()
	header := http.Header{}
	dendro.Inject(ctx, header)
	testkit.Equal(t, "the span's tracer writes", header, http.Header{"X-Shout": {span.Context().Traceparent()}})
	sc, _ := tracer.Propagator().Extract(header)
	testkit.Equal(t, "and reads", sc, span.Context())

	sc, _ = dendro.Extract(header)
	testkit.Equal(t, "without a default tracer W3C", sc.IsValid(), false)
	dendro.SetDefault(tracer)
	defer dendro.SetDefault(nil)
	sc, _ = dendro.Extract(header)
	testkit.Equal(t, "the default tracer reads", sc, span.Context())
}

func TestPropagatorFromEnvironment(t *testing.T) {
	var log strings.Builder
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	both := dendro.W3C{}
	for list, want := range map[string]dendro.W3C{
		"":                        both,
		"tracecontext,baggage":    both,
		"baggage, tracecontext":   both,
		"tracecontext":            {NoBaggage: true},
		"baggage":                 {NoTraceContext: true},
		"none":                    {NoBaggage: true, NoTraceContext: true},
		"tracecontext,b3,baggage": both,
	} {
		log.Reset()
		t.Setenv("OTEL_PROPAGATORS", list)
		testkit.Equal(t, list, dendro.New(dendro.Options{}).Propagator(), dendro.Propagator(want))
		testkit.Equal(t, list+": warns", strings.Contains(log.String(), "propagation.FromEnv"), strings.Contains(list, "b3"))
	}
}

func TestPropagatorParts(t *testing.T) {
	sc, err := dendro.ParseTraceparent("00-" + traceID + "-" + spanID + "-03")
	testkit.NoError(t, err)
	baggage, err := dendro.ParseBaggage("a=1")
	testkit.NoError(t, err)
	all := http.Header{}
	dendro.W3C{}.Inject(all, sc, baggage)
	for _, w := range []dendro.W3C{{}, {NoBaggage: true}, {NoTraceContext: true}} {
		header := http.Header{}
		w.Inject(header, sc, baggage)
		testkit.Equal(t, "traceparent", header.Get("Traceparent") == "", w.NoTraceContext)
		testkit.Equal(t, "baggage", header.Get("Baggage") == "", w.NoBaggage)
		parent, b := w.Extract(all)
		testkit.Equal(t, "reads traceparent", parent.IsValid(), !w.NoTraceContext)
		testkit.Equal(t, "reads baggage", b.Len() == 1, !w.NoBaggage)
	}
}

func TestDeferredDecision(t *testing.T) {
	sc, err := dendro.ParseTraceparent("00-" + traceID + "-" + spanID + "-00")
	testkit.NoError(t, err)
	sc.Deferred = true
	for _, c := range []struct {
		sampler dendro.Sampler
		want    bool
	}{
		{nil, true},
		{dendro.ParentSample(dendro.AlwaysSample), true},
		{dendro.ParentSample(dendro.NeverSample), false},
	} {
		tracer := dendro.New(dendro.Options{Sampler: c.sampler})
		_, span := tracer.StartWith(background, "x", dendro.StartOptions{Parent: sc})
		testkit.Equal(t, "sampled", span.Context().Flags.Sampled(), c.want)
		testkit.Equal(t, "decided", span.Context().Deferred, false)
		span.End()
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	_, span := dendro.New(dendro.Options{}).StartWith(background, "x", dendro.StartOptions{Parent: sc})
	testkit.Equal(t, "disabled: travels on as it came", span.Context(), sc)
}
