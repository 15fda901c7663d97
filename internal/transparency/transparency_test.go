package transparency_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/internal/transparency"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// known are the known differences of dendro by case, with the reason.
var known = map[string]string{
	"MaxBytesHandler inside": "net/http does not close the connection: it does not know the writer",
	"Flush after Hijack":     "net/http logs that a header is written, and names the writer as the caller",
}

// wrapperOf returns dendro with a tracer. If tracer is nil, it has none.
func wrapperOf(tracer *dendro.Tracer) transparency.Wrapper {
	return transparency.Wrapper{
		Handler: middleware.New(middleware.Options{Tracer: tracer}),
		Transport: func(base http.RoundTripper) http.RoundTripper {
			return transport.New(base, transport.Options{Tracer: tracer})
		},
	}
}

// around returns outer around inner.
func around(outer, inner transparency.Wrapper) transparency.Wrapper {
	return transparency.Wrapper{
		Handler:   func(h http.Handler) http.Handler { return outer.Handler(inner.Handler(h)) },
		Transport: func(base http.RoundTripper) http.RoundTripper { return outer.Transport(inner.Transport(base)) },
	}
}

// discard drops all spans.
type discard struct{}

func (discard) Collect(*dendro.Batch) error { return nil }

// Clients and handlers do not notice dendro. The cases are deterministic: a second
// bare exchange is the same as the first.
func TestDendro(t *testing.T) {
	dendro.SetDefault(nil)
	newTracer := func() *dendro.Tracer {
		return dendro.New(dendro.Options{Collector: discard{}, Sampler: dendro.AlwaysSample})
	}
	sampling := wrapperOf(newTracer())
	wrappers := []struct {
		name string
		transparency.Wrapper
	}{
		{"bare", transparency.Wrapper{}},
		{"default options", sampling},
		{"never sampled", wrapperOf(dendro.New(dendro.Options{Sampler: dendro.NeverSample}))},
		{"no tracer", wrapperOf(nil)},
		{"twice", around(sampling, sampling)},
		{"two tracers", around(sampling, wrapperOf(newTracer()))},
	}
	differs := map[string]bool{}
	each(t, func(t *testing.T, c transparency.Case, protocol string) {
		bare := c.Observe(protocol, transparency.Wrapper{})
		for _, n := range bare {
			if strings.HasPrefix(n, "stuck") {
				t.Errorf("the bare exchange: %s", n)
			}
		}
		for _, w := range wrappers {
			different := transparency.Diff(bare, c.Observe(protocol, w.Wrapper))
			if len(different) > 0 && (known[c.Name] == "" || w.name == "bare") {
				t.Errorf("%s:\n%s", w.name, strings.Join(different, "\n"))
			}
			differs[c.Name] = differs[c.Name] || len(different) > 0
		}
	})
	for name := range known {
		if !differs[name] {
			t.Errorf("%q does not differ any more", name)
		}
	}
}

// each runs f for all cases and their protocols.
func each(t *testing.T, f func(*testing.T, transparency.Case, string)) {
	names := map[string]bool{}
	for _, c := range all() {
		if names[c.Name] {
			t.Errorf("two cases have the name %q", c.Name)
		}
		names[c.Name] = true
		for _, protocol := range c.Protocols {
			t.Run(c.Name+"/"+protocol, func(t *testing.T) {
				testkit.NoLeaks(t)
				f(t, c, protocol)
			})
		}
	}
}

// A wrapper that loses what most wrappers lose is detected.
func TestLossyWrapper(t *testing.T) {
	lossy := transparency.Wrapper{
		Handler: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h.ServeHTTP(struct{ http.ResponseWriter }{w}, r.Clone(r.Context()))
			})
		},
		Transport: func(base http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := base.RoundTrip(r)
				if resp != nil {
					resp.Body = struct{ io.ReadCloser }{resp.Body}
				}
				return resp, err
			})
		},
	}
	for _, name := range []string{"interfaces of the response writer", "an event stream", "Hijack", "a form with files", "interfaces of response bodies", "upgraded connection, half closed"} {
		c := find(t, name)
		protocol := c.Protocols[0]
		if len(transparency.Diff(c.Observe(protocol, transparency.Wrapper{}), c.Observe(protocol, lossy))) == 0 {
			t.Errorf("%s: no difference", name)
		}
	}
}

func find(t *testing.T, name string) transparency.Case {
	for _, c := range all() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no case %q", name)
	panic("unreachable")
}

func all() []transparency.Case { return append(transparency.Server(), transparency.Client()...) }

func TestDiff(t *testing.T) {
	for _, c := range []struct{ bare, wrapped, want string }{
		{"", "", ""},
		{"a b", "a b", ""},
		{"a b c", "a c", "- b"},
		{"a c", "a b c", "+ b"},
		{"a b", "b a", "- a,+ a"},
		{"a b c", "a x c", "- b,+ x"},
	} {
		got := strings.Join(transparency.Diff(strings.Fields(c.bare), strings.Fields(c.wrapped)), ",")
		testkit.Equal(t, c.bare+" and "+c.wrapped, got, c.want)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
