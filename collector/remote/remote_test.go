package remote_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

var background = context.Background()

// far is a collector that replaces the network. respond gets the number of the
// request, counted from 1, and the names of its spans.
type far struct {
	t       *testing.T
	respond func(n int, r *http.Request, spans []string) (*http.Response, error)

	mu       sync.Mutex
	requests int       // guarded by mu
	times    []float64 // seconds since the first; guarded by mu
	first    time.Time // guarded by mu
	received []string  // names of the spans answered with 200; guarded by mu
	largest  int       // largest body before compression; guarded by mu
}

func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	body := plainBody(f.t, r)
	defer r.Body.Close()
	batches, err := otlp.DecodeTraces(body)
	if err != nil {
		f.t.Errorf("what was sent: %v", err)
	}
	var names []string
	for _, b := range batches {
		for _, s := range b.Spans {
			names = append(names, s.Name)
		}
	}
	f.mu.Lock()
	f.requests++
	n := f.requests
	if n == 1 {
		f.first = time.Now()
	}
	f.times = append(f.times, time.Since(f.first).Seconds())
	f.largest = max(f.largest, len(body))
	f.mu.Unlock()

	res, err := answer(200), error(nil)
	if f.respond != nil {
		res, err = f.respond(n, r, names)
	}
	if err == nil && res.StatusCode == 200 {
		f.mu.Lock()
		f.received = append(f.received, names...)
		f.mu.Unlock()
	}
	return res, err
}

// roundTripper is a [http.RoundTripper] made from a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (f *far) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.received
}

func plainBody(t *testing.T, r *http.Request) []byte {
	t.Helper()
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Error(err)
			return nil
		}
		body = z
	}
	plain, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return plain
}

func answer(status int, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), Header: h, Body: http.NoBody}
}

func dial(t *testing.T, f http.RoundTripper, o remote.Options) *remote.Client {
	t.Helper()
	if f, ok := f.(*far); ok {
		f.t = t
	}
	o.HTTPClient = &http.Client{Transport: f}
	c, err := remote.Dial("http://collector", o)
	testkit.NoError(t, err)
	return c
}

var (
	resource = &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}
	scope    = &dendro.Scope{Name: "test"}
)

func batch(names ...string) *dendro.Batch {
	b := &dendro.Batch{Resource: resource}
	for _, name := range names {
		s := &dendro.SpanData{Name: name, Scope: scope, Start: 1, End: 2}
		s.TraceID[0], s.SpanID[0] = 1, 1
		b.Spans = append(b.Spans, s)
	}
	return b
}

func logs(t *testing.T) *bytes.Buffer {
	var out bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &out
}

// A span that ends in one process arrives unchanged in the store of another.
func TestDelivers(t *testing.T) {
	for _, compression := range []string{"gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			testkit.NoLeaks(t)
			_, store := testkit.NewTracer(t)
			var encodings []string
			h := server.New(collector.WriterOf(store), server.Options{})
			far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				encodings = append(encodings, r.Header.Get("Content-Encoding"))
				h.ServeHTTP(w, r)
			}))
			defer far.Close()
			c, err := remote.Dial(far.URL, remote.Options{Compression: compression})
			testkit.NoError(t, err)
			tracer := dendro.New(dendro.Options{Service: "shop", Collector: c, Sampler: dendro.AlwaysSample})
			ctx, root := tracer.Start(background, "root")
			_, child := tracer.Start(ctx, "child", slog.Int("n", 7))
			child.End()
			root.End()
			testkit.NoError(t, tracer.Shutdown(background))
			testkit.NoError(t, c.Shutdown(background))

			spans := store.Spans()
			testkit.Equal(t, "names", testkit.Names(spans), []string{"root", "child"})
			testkit.Equal(t, "service", spans[1].Service, "shop")
			testkit.Equal(t, "context", spans[1].SpanContext, child.Context())
			testkit.Equal(t, "parent", spans[1].ParentID, root.Context().SpanID)
			testkit.Equal(t, "attribute", spans[1].Attr("n"), any(int64(7)))
			testkit.Equal(t, "encodings", encodings, []string{strings.TrimPrefix(compression, "none")})
			stats := c.Stats()
			if stats.SentBytes == 0 {
				t.Error("no bytes were counted")
			}
			stats.SentBytes = 0
			testkit.Equal(t, "stats", stats, remote.Stats{SentSpans: 2, SentRequests: 1})
			testkit.Equal(t, "dropped", tracer.Stats().DroppedSpans(), uint64(0))
		})
	}
}

// Spans are sent without a Flush, an interval after the first of them.
func TestInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{}
		c := dial(t, f, remote.Options{})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(900 * time.Millisecond)
		testkit.NoError(t, c.Collect(batch("b")))
		synctest.Wait()
		testkit.Equal(t, "too early", f.names(), []string(nil))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		testkit.Equal(t, "sent", f.names(), []string{"a", "b"})
		testkit.NoError(t, c.Collect(batch("c")))
		time.Sleep(time.Second)
		synctest.Wait()
		testkit.Equal(t, "sent", f.names(), []string{"a", "b", "c"})
	})
}

// No request has more than BatchBytes and one resource, however large the local traces
// are. Cutting them loses no span and keeps their order.
func TestBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			time.Sleep(time.Millisecond) // Flush must wait for all of them
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{BatchBytes: 1000, Compression: "none"})
		defer c.Shutdown(background)
		var want []string
		for i := range 20 {
			var trace []string
			for j := range 1 + i*3 {
				trace = append(trace, fmt.Sprintf("span %d of trace %d", j, i))
			}
			want = append(want, trace...)
			testkit.NoError(t, c.Collect(batch(trace...)))
		}
		testkit.NoError(t, c.Flush(background))
		testkit.Equal(t, "received", f.names(), want)
		if f.largest > 1100 || f.requests < 40 || f.requests > 100 {
			t.Errorf("%d requests, the largest of %d bytes", f.requests, f.largest)
		}
		testkit.Equal(t, "sent", int(c.Stats().SentSpans), len(want))
	})
}

// Spans of one resource and scope are sent in one group, whatever order they arrive
// in.
func TestGroups(t *testing.T) {
	var got [][]string
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		batches, err := otlp.DecodeTraces(plainBody(t, r))
		if err != nil {
			t.Error(err)
		}
		for _, b := range batches {
			group := []string{b.Resource.Service(), b.Spans[0].Scope.Name}
			for _, s := range b.Spans {
				if s.Scope != b.Spans[0].Scope {
					t.Error("a group has spans of two scopes")
				}
				group = append(group, s.Name)
			}
			got = append(got, group)
		}
	}))
	defer far.Close()
	c, err := remote.Dial(far.URL+"/prefix/", remote.Options{})
	testkit.NoError(t, err)
	other := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "till")}}
	library := &dendro.Scope{Name: "library"}
	for _, round := range []string{"1", "2"} {
		testkit.NoError(t, c.Collect(batch("span"+round)))
		mixed := batch("a"+round, "b"+round, "c"+round, "d"+round)
		mixed.Resource = other
		mixed.Spans[1].Scope, mixed.Spans[3].Scope = library, library
		testkit.NoError(t, c.Collect(mixed))
	}
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "groups", got, [][]string{
		{"shop", "test", "span1", "span2"}, {"till", "test", "a1", "c1", "a2", "c2"}, {"till", "library", "b1", "d1", "b2", "d2"},
	})
}

// Spans of two scopes that take turns need the room of two groups, not of one for each.
func TestScopesThatTakeTurns(t *testing.T) {
	c := dial(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Body.Close()
		return answer(200), nil
	}), remote.Options{QueueBytes: 64 << 10})
	b := batch(slices.Repeat([]string{"span"}, 300)...)
	library := &dendro.Scope{Name: "library"}
	for i := range b.Spans {
		if i%2 == 0 {
			b.Spans[i].Scope = library
		}
	}
	testkit.NoError(t, c.Collect(b))
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "sent", int(c.Stats().SentSpans), 300)
}

// Temporary failures are retried at growing intervals, and the pause that the
// collector asks for is respected.
func TestRetries(t *testing.T) {
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		name    string
		respond func(n int) (*http.Response, error)
		gaps    [][2]float64 // seconds between attempts, from and to
	}{
		{"backoff", func(n int) (*http.Response, error) {
			return nil, errors.New("connection refused")
		}, [][2]float64{{.125, .25}, {.25, .5}, {.5, 1}, {1, 2}, {2, 4}, {2.5, 5}, {2.5, 5}}},
		{"statuses", func(n int) (*http.Response, error) {
			return answer([]int{429, 502, 503, 504}[n-1]), nil
		}, [][2]float64{{.125, .25}, {.25, .5}, {.5, 1}, {1, 2}}},
		{"seconds", func(int) (*http.Response, error) {
			return answer(503, "Retry-After", "7"), nil
		}, [][2]float64{{7, 7}, {7, 7}}},
		{"date", func(int) (*http.Response, error) {
			return answer(429, "Retry-After", date(20*time.Second)), nil
		}, [][2]float64{{19, 20}}},
		{"nonsense", func(int) (*http.Response, error) {
			return answer(429, "Retry-After", "soon"), nil
		}, [][2]float64{{.125, .25}}},
		{"past", func(int) (*http.Response, error) {
			return answer(429, "Retry-After", date(-time.Hour)), nil
		}, [][2]float64{{.125, .25}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs(t)
				f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
					if n <= len(c.gaps) {
						return c.respond(n)
					}
					return answer(200), nil
				}}
				client := dial(t, f, remote.Options{})
				testkit.NoError(t, client.Collect(batch("a")))
				time.Sleep(time.Minute)
				testkit.NoError(t, client.Shutdown(background))
				testkit.Equal(t, "received", f.names(), []string{"a"})
				testkit.Equal(t, "attempts", len(f.times), len(c.gaps)+1)
				for i, want := range c.gaps {
					if got := f.times[i+1] - f.times[i]; got < want[0]-1e-6 || got > want[1]+1e-6 {
						t.Errorf("gap %d: %.3f s, want %v", i, got, want)
					}
				}
			})
		})
	}
}

// Rejected spans are dropped and counted at once, and do not delay the spans after
// them.
func TestRejected(t *testing.T) {
	partial := func(r otlp.Result) *http.Response {
		res := answer(200, "Content-Type", "application/x-protobuf")
		res.Body = io.NopCloser(bytes.NewReader(r.AppendProto(nil)))
		return res
	}
	for _, c := range []struct {
		name    string
		answer  *http.Response
		dropped uint64
		log     string
	}{
		{"bad request", answer(400), 3, "400 Bad Request"},
		{"unauthorized", answer(401), 3, "401 Unauthorized"},
		{"server error", answer(500), 3, "500 Internal Server Error"},
		{"redirect", answer(302, "Location", "http://login/"), 3, "302 Found: redirects are not followed, dial http://login/"},
		{"permanent redirect", answer(308, "Location", "https://collector/v1/traces"), 3, "308 Permanent Redirect: redirects"},
		{"partial success", partial(otlp.Result{Rejected: 2, Message: "too old"}), 2, "2 of 3 spans: too old"},
		{"more than all", partial(otlp.Result{Rejected: 1e9}), 3, "3 of 3 spans"},
		{"warning", partial(otlp.Result{Message: "nearly too old"}), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := logs(t)
				f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
					if n == 1 {
						return c.answer, nil
					}
					return answer(200), nil
				}}
				client := dial(t, f, remote.Options{})
				testkit.NoError(t, client.Collect(batch("a", "b", "c")))
				testkit.NoError(t, client.Flush(background))
				if err := client.Stats().LastError; err == nil {
					t.Error("no last error")
				}
				testkit.NoError(t, client.Collect(batch("d")))
				testkit.NoError(t, client.Shutdown(background))
				testkit.Equal(t, "requests", f.requests, 2)
				testkit.Equal(t, "dropped", client.Stats().Dropped["rejected"], c.dropped)
				testkit.Equal(t, "sent", client.Stats().SentSpans, 4-c.dropped)
				testkit.Equal(t, "last error", client.Stats().LastError, error(nil))
				if !strings.Contains(out.String(), c.log) || c.log == "" && out.Len() > 0 {
					t.Errorf("log does not say %q: %s", c.log, out)
				}
			})
		})
	}
}

// While the collector is unreachable, the queue grows to its bound, spans above the
// bound are dropped, two lines are logged, and no request waits.
func TestCollectorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := logs(t)
		var back atomic.Bool
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			if back.Load() {
				return answer(200), nil
			}
			return nil, errors.New("connection refused")
		}}
		const bound = 50_000
		c := dial(t, f, remote.Options{QueueBytes: bound, BatchBytes: 5000})
		tracer := dendro.New(dendro.Options{Collector: c, Sampler: dendro.AlwaysSample})
		began := time.Now()
		for range 2000 {
			_, span := tracer.Start(background, "GET /")
			span.End()
		}
		testkit.Equal(t, "time that passed for the program", time.Since(began), time.Duration(0))
		held := c.Stats()
		if held.QueuedBytes > bound || held.QueuedBytes < bound*9/10 {
			t.Errorf("%d bytes in the queue, want just under %d", held.QueuedBytes, bound)
		}
		refused := tracer.Stats().Dropped["queue_full"]
		testkit.Equal(t, "queued and refused", uint64(held.QueuedSpans)+refused, uint64(2000))

		time.Sleep(time.Minute)
		back.Store(true)
		time.Sleep(6 * time.Second) // longer than the longest wait between attempts
		synctest.Wait()
		testkit.Equal(t, "received", len(f.names()), held.QueuedSpans)
		testkit.Equal(t, "queue", c.Stats().QueuedBytes+c.Stats().QueuedSpans, 0)
		testkit.NoError(t, c.Shutdown(background))
		testkit.Equal(t, "dropped", len(c.Stats().Dropped), 0)
		testkit.Equal(t, "log", out.String(), `level=WARN msg="dendro: cannot reach http://collector/v1/traces: connection refused; spans are queued, then dropped"
level=INFO msg="dendro: http://collector/v1/traces accepts spans again"
`)
	})
}

// Spans that could not be delivered for MaxElapsed are dropped to make room for newer
// ones. A collector cannot ask for a longer pause.
func TestMaxElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		var back atomic.Bool
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			if back.Load() {
				return answer(200), nil
			}
			return answer(503, "Retry-After", "2147483647"), nil
		}}
		c := dial(t, f, remote.Options{MaxElapsed: time.Minute})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Collect(batch("a", "b")))
		time.Sleep(40 * time.Second)
		testkit.NoError(t, c.Collect(batch("c")))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"unreachable": 2})
		testkit.Equal(t, "queued", c.Stats().QueuedSpans, 1)
		time.Sleep(40 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"unreachable": 3})
		testkit.Equal(t, "requests", f.requests, 2)

		back.Store(true)
		time.Sleep(time.Minute)
		testkit.NoError(t, c.Collect(batch("d")))
		testkit.NoError(t, c.Flush(background))
		testkit.Equal(t, "received", f.names(), []string{"d"})
	})
}

// Flush causes the next attempt instead of waiting for it.
func TestFlushHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		var back atomic.Bool
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			if back.Load() {
				return answer(200), nil
			}
			return nil, errors.New("connection refused")
		}}
		c := dial(t, f, remote.Options{})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(30 * time.Second) // attempts are up to 5 seconds apart
		synctest.Wait()
		back.Store(true)
		began := time.Now()
		testkit.NoError(t, c.Collect(batch("b")))
		testkit.NoError(t, c.Flush(background))
		testkit.Equal(t, "time", time.Since(began), time.Duration(0))
		testkit.Equal(t, "received", f.names(), []string{"a", "b"})
	})
}

// Flush respects the pause that a collector asks for.
func TestFlushHonoursRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		f := &far{respond: func(n int, _ *http.Request, _ []string) (*http.Response, error) {
			if n == 1 {
				return answer(503, "Retry-After", "6"), nil
			}
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Collect(batch("a")))
		began := time.Now()
		testkit.NoError(t, c.Flush(background))
		testkit.Equal(t, "time", time.Since(began), 6*time.Second)
	})
}

func TestFlushEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs(t)
		f := &far{respond: func(int, *http.Request, []string) (*http.Response, error) {
			return nil, errors.New("connection refused")
		}}
		c := dial(t, f, remote.Options{})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Flush(background)) // nothing to do
		testkit.NoError(t, c.Collect(batch("a")))

		began := time.Now()
		ctx, cancel := context.WithTimeout(background, 3*time.Second)
		defer cancel()
		err := c.Flush(ctx)
		testkit.Equal(t, "error", fmt.Sprint(err), "remote: flush: context deadline exceeded (connection refused)")
		testkit.Equal(t, "is deadline", errors.Is(err, context.DeadlineExceeded), true)
		testkit.Equal(t, "time", time.Since(began), 3*time.Second)

		began = time.Now()
		testkit.Equal(t, "is deadline", errors.Is(c.Flush(background), context.DeadlineExceeded), true)
		testkit.Equal(t, "time without a deadline", time.Since(began), 10*time.Second)
		testkit.Equal(t, "queued", c.Stats().QueuedSpans, 1)
	})
}

// A request to a collector that accepts the connection but never responds ends after
// Timeout.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := logs(t)
		f := &far{respond: func(n int, r *http.Request, _ []string) (*http.Response, error) {
			if n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return answer(200), nil
		}}
		c := dial(t, f, remote.Options{Timeout: 3 * time.Second})
		defer c.Shutdown(background)
		testkit.NoError(t, c.Collect(batch("a")))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		testkit.Equal(t, "received", f.names(), []string{"a"})
		if f.times[1] < 3.125 || f.times[1] > 3.25 {
			t.Errorf("second attempt after %v s", f.times[1])
		}
		if !strings.Contains(out.String(), "no response within 3s") {
			t.Errorf("log: %s", out)
		}
	})
}

// Shutdown ends when its context is done. Undelivered spans are counted.
func TestShutdown(t *testing.T) {
	testkit.NoLeaks(t)
	logs(t)
	arrived := make(chan struct{}, 1)
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer far.Close()
	c, err := remote.Dial(far.URL, remote.Options{Interval: time.Millisecond})
	testkit.NoError(t, err)
	tracer := dendro.New(dendro.Options{Collector: c, Sampler: dendro.AlwaysSample})
	_, span := tracer.Start(background, "on its way")
	span.End()
	<-arrived
	_, span = tracer.Start(background, "waiting")
	span.End()

	ctx, cancel := context.WithCancel(background)
	cancel()
	testkit.Equal(t, "error", errors.Is(c.Shutdown(ctx), context.Canceled), true)
	_, span = tracer.Start(background, "late")
	span.End()
	testkit.Equal(t, "refused", tracer.Stats().Dropped, map[string]uint64{"shutdown": 1})
	testkit.Equal(t, "dropped", c.Stats().Dropped, map[string]uint64{"shutdown": 2})
	testkit.Equal(t, "again", c.Shutdown(background), error(nil))
	testkit.Equal(t, "queued", c.Stats().QueuedSpans, 0)

	var drop *dendro.DropError
	testkit.Equal(t, "refused", errors.As(c.Collect(batch("later")), &drop), true)
	testkit.Equal(t, "reason", drop.Reason, "shutdown")
}

// Shutdown closes idle connections.
func TestShutdownClosesConnections(t *testing.T) {
	testkit.NoLeaks(t)
	closed := make(chan struct{})
	far := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	far.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			close(closed)
		}
	}
	far.Start()
	defer far.Close()
	c, err := remote.Dial(far.URL, remote.Options{})
	testkit.NoError(t, err)
	for range 3 {
		testkit.NoError(t, c.Collect(batch("a")))
		testkit.NoError(t, c.Flush(background))
	}
	testkit.NoError(t, c.Shutdown(background))
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the connection is still open")
	}
}

// Sending spans makes no spans, even if the HTTP client is traced.
func TestDeliveryIsNotTraced(t *testing.T) {
	tracer, recorded := testkit.NewTracer(t)
	dendro.SetDefault(tracer)
	defer dendro.SetDefault(nil)
	f := &far{t: t}
	traced := &http.Client{Transport: transport.New(f, transport.Options{Tracer: tracer})}
	c, err := remote.Dial("http://collector", remote.Options{HTTPClient: traced})
	testkit.NoError(t, err)
	testkit.NoError(t, c.Collect(batch("a")))
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "received", f.names(), []string{"a"})
	testkit.Equal(t, "spans", testkit.Names(recorded.Spans()), []string{})
}

func TestHeaders(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20env, x-env=1")
	var got http.Header
	f := &far{respond: func(_ int, r *http.Request, _ []string) (*http.Response, error) {
		got = r.Header
		return answer(200), nil
	}}
	c := dial(t, f, remote.Options{Compression: "gzip", Header: http.Header{"authorization": {"Bearer code"}, "Content-Type": {"text/plain"}}})
	testkit.NoError(t, c.Collect(batch("a")))
	testkit.NoError(t, c.Shutdown(background))
	testkit.Equal(t, "header", got, http.Header{
		"Authorization": {"Bearer code"}, "X-Env": {"1"}, "User-Agent": {"dendro/" + dendro.Version},
		"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"gzip"}, "Idempotency-Key": {},
	})
}

// Each span is sent, dropped or refused, and counted exactly once.
func TestConcurrency(t *testing.T) {
	testkit.NoLeaks(t)
	logs(t)
	const workers, traces = 8, 300
	var mu sync.Mutex
	received, requests := 0, 0
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		batches, err := otlp.DecodeTraces(plainBody(t, r))
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if requests++; requests%3 == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, b := range batches {
			received += len(b.Spans)
		}
	}))
	defer far.Close()
	c, err := remote.Dial(far.URL, remote.Options{BatchBytes: 2000, QueueBytes: 40_000, Interval: time.Millisecond})
	testkit.NoError(t, err)
	tracer := dendro.New(dendro.Options{Collector: c, Sampler: dendro.AlwaysSample})
	var group sync.WaitGroup
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := range traces {
				ctx, root := tracer.Start(background, "root")
				_, child := tracer.Start(ctx, "child")
				child.End()
				root.End()
				if i%100 == 0 {
					_ = c.Flush(background)
				}
			}
		}()
	}
	group.Wait()
	testkit.NoError(t, c.Shutdown(background))
	stats, sent := tracer.Stats(), c.Stats()
	testkit.Equal(t, "sent", int(sent.SentSpans), received)
	testkit.Equal(t, "taken", sent.SentSpans+sent.Dropped["rejected"], stats.Delivered)
	testkit.Equal(t, "all", stats.Delivered+stats.Dropped["queue_full"], uint64(2*workers*traces))
	if received == 0 || sent.Dropped["rejected"] == 0 {
		t.Errorf("received %d, dropped %v", received, sent.Dropped)
	}
}

// Collect does not allocate once a few batches have been sent.
func TestCollectAllocations(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates")
	}
	t.Run("queue", func(t *testing.T) { testCollectAllocations(t, remote.Options{Interval: time.Hour}) })
	t.Run("queue and spool", func(t *testing.T) {
		testCollectAllocations(t, remote.Options{Interval: time.Hour, Spool: t.TempDir()})
	})
}

func testCollectAllocations(t *testing.T, o remote.Options) {
	f := &far{}
	c := dial(t, f, o)
	defer c.Shutdown(background)
	b := batch("a", "b", "c")
	collect := func() {
		if err := c.Collect(b); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		for range 500 {
			collect()
		}
		testkit.NoError(t, c.Flush(background))
	}
	collect()
	if got := testing.AllocsPerRun(200, collect); got > 0 {
		t.Errorf("%v allocations for a batch, want none", got)
	}
}

// A transport may return before it has read the request. The request body stays
// unchanged until the transport closes it.
func TestLateReader(t *testing.T) {
	var mu sync.Mutex
	var bodies []io.ReadCloser
	sizes := map[int]int{} // sizes of the memory, by request
	c := dial(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		bodies = append(bodies, r.Body)
		again, err := r.GetBody()
		testkit.NoError(t, err)
		bodies = append(bodies, again)
		sizes[len(sizes)] = int(r.ContentLength)
		return answer(200), nil
	}), remote.Options{})
	for _, name := range []string{"first", "second", "third"} {
		testkit.NoError(t, c.Collect(batch(name)))
		testkit.NoError(t, c.Flush(background))
	}
	testkit.Equal(t, "bodies", len(bodies), 6)
	for i, b := range bodies {
		text, err := io.ReadAll(b)
		testkit.NoError(t, err)
		batches, err := otlp.DecodeTraces(text)
		testkit.NoError(t, err)
		testkit.Equal(t, "content", batches[0].Spans[0].Name, []string{"first", "second", "third"}[i/2])
		testkit.Equal(t, "length", len(text), sizes[i/2])
		testkit.NoError(t, b.Close())
		testkit.NoError(t, b.Close())
	}
}

// A transport may close a request body while it reads it, as the HTTP/2 transport of
// net/http does. After that it reads nothing more, neither of this request nor of
// another.
func TestReadWhileClosed(t *testing.T) {
	var reading sync.WaitGroup
	c := dial(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		began := make(chan struct{})
		reading.Go(func() {
			var p [8]byte
			_, err := r.Body.Read(p[:])
			close(began)
			for err == nil {
				_, err = r.Body.Read(p[:])
			}
		})
		<-began
		testkit.NoError(t, r.Body.Close())
		if n, err := r.Body.Read(make([]byte, 8)); n > 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("read %d bytes after Close: %v", n, err)
		}
		return answer(200), nil
	}), remote.Options{})
	for n := range 20 {
		testkit.NoError(t, c.Collect(batch(strings.Repeat(fmt.Sprint(n%10), 100_000))))
		testkit.NoError(t, c.Flush(background))
	}
	reading.Wait()
	testkit.NoError(t, c.Shutdown(background))
}

// The queue takes at most half as much memory again as it counts, even if each span
// has a resource of its own, as in a program that forwards spans.
func TestQueueBytesAreThoseOfTheHeap(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector takes memory of its own")
	}
	heap := func() int {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC() // empties sync.Pool
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	for name, origin := range map[string]func() (*dendro.Resource, *dendro.Scope){
		"one resource": func() (*dendro.Resource, *dendro.Scope) { return resource, scope },
		"many resources": func() (*dendro.Resource, *dendro.Scope) {
			return &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", "shop")}}, &dendro.Scope{Name: "test"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			logs(t)
			const queueBytes = 4 << 20
			c := dial(t, roundTripper(func(r *http.Request) (*http.Response, error) {
				r.Body.Close()
				return answer(503, "Retry-After", "1000"), nil
			}), remote.Options{QueueBytes: queueBytes})
			before, b := heap(), batch("span")
			for b.Resource, b.Spans[0].Scope = origin(); c.Collect(b) == nil; b.Resource, b.Spans[0].Scope = origin() {
			}
			grown, held := heap()-before, c.Stats().QueuedBytes
			t.Logf("heap %.2f of the bound, %d spans", float64(grown)/queueBytes, c.Stats().QueuedSpans)
			if grown > queueBytes*3/2 {
				t.Errorf("the heap grew by %d bytes, %d are accounted for", grown, held)
			}
			if held > queueBytes || held < queueBytes*9/10 {
				t.Errorf("%d bytes in the queue, want just under %d", held, queueBytes)
			}
			ctx, cancel := context.WithCancel(background)
			cancel()
			_ = c.Shutdown(ctx) // the collector accepts nothing
		})
	}
}
