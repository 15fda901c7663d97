package integration

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	dendropropagation "github.com/dendrotrace/dendro/propagation"
	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// forms are both encodings in both implementations.
var forms = []struct {
	name string
	ours dendropropagation.B3
	otel propagation.TextMapPropagator
}{
	{"single", dendropropagation.B3{}, b3.New(b3.WithInjectEncoding(b3.B3SingleHeader))},
	{"multi", dendropropagation.B3{Multi: true}, b3.New(b3.WithInjectEncoding(b3.B3MultipleHeader))},
}

// resend returns what OpenTelemetry sends on after it received header. That shows what
// it has read, including deferred decisions.
func resend(p propagation.TextMapPropagator, header http.Header) http.Header {
	out := http.Header{}
	ctx := p.Extract(context.Background(), propagation.HeaderCarrier(header))
	if trace.SpanContextFromContext(ctx).IsValid() {
		p.Inject(ctx, propagation.HeaderCarrier(out))
	}
	return out
}

// OpenTelemetry reads the B3 headers that dendro writes, and the other way round.
func TestOTelB3(t *testing.T) {
	for _, form := range forms {
		for _, id := range []dendro.TraceID{{1, 15: 2}, {15: 2}} {
			for _, sc := range []dendro.SpanContext{{Flags: dendro.FlagSampled}, {}, {Deferred: true}} {
				sc.TraceID, sc.SpanID = id, dendro.SpanID{3, 7: 4}
				header := http.Header{}
				form.ours.Inject(header, sc, dendro.Baggage{})
				got := trace.SpanContextFromContext(form.otel.Extract(context.Background(), propagation.HeaderCarrier(header)))
				testkit.Equal(t, form.name+": trace id", dendro.TraceID(got.TraceID()), sc.TraceID)
				testkit.Equal(t, form.name+": span id", dendro.SpanID(got.SpanID()), sc.SpanID)
				testkit.Equal(t, form.name+": sampled", got.IsSampled(), sc.Flags.Sampled())

				sent := resend(form.otel, header)
				testkit.Equal(t, form.name+": written the same", sent, header)
				back, _ := form.ours.Extract(sent)
				testkit.Equal(t, form.name+": read back", back, sc)
			}
		}
	}
}

// From random headers, dendro reads the same as OpenTelemetry.
func TestOTelB3Random(t *testing.T) {
	const id, span = "80f198ee56343ba864fe8b2a57d3eff7", "05e3ac9a4f6e3b90"
	ids := []string{id, id[16:], span, span, strings.ToUpper(id), strings.Repeat("0", 32), strings.Repeat("0", 16), id[1:], "", "x"}
	states := []string{"0", "1", "d", "true", "FALSE", "", "", "x"}
	pick := func(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 200_000 {
		header := http.Header{}
		if r.IntN(2) == 0 {
			parts := []string{pick(r, ids), pick(r, ids), pick(r, states), pick(r, ids)}
			header.Set("b3", strings.Join(parts[:1+r.IntN(4)], "-"))
		} else {
			header.Set("x-b3-traceid", pick(r, ids))
			header.Set("x-b3-spanid", pick(r, ids))
			header.Set("x-b3-sampled", pick(r, states))
			header.Set("x-b3-flags", pick(r, []string{"", "", "0", "1"}))
		}
		if header.Get("x-b3-flags") == "1" && (header.Get("x-b3-sampled") == "x" || header.Get("x-b3-sampled") == "d") {
			continue // debug implies accept: we do not look at the state then
		}
		sc, _ := dendropropagation.B3{}.Extract(header)
		got := http.Header{}
		dendropropagation.B3{}.Inject(got, sc, dendro.Baggage{})
		want := resend(forms[0].otel, header)
		if v := want.Get("b3"); strings.HasSuffix(v, "-d") { // we send debug on as sampled
			want.Set("b3", strings.TrimSuffix(v, "d")+"1")
		}
		if got.Get("b3") != want.Get("b3") {
			t.Fatalf("%v: we read %v, OpenTelemetry %v", header, got, want)
		}
		if sc.IsValid() {
			accepted++
		}
	}
	if accepted < 1000 {
		t.Errorf("only %d headers were valid", accepted)
	}
}
