package transport_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

func TestPropagateTo(t *testing.T) {
	for _, c := range []struct {
		patterns string
		target   string
		want     bool
	}{
		{"", "http://a.example", true},
		{"a.example", "http://a.example", true},
		{"a.example", "http://a.example:8080", true},
		{"A.Example", "http://a.eXAMPLE", true},
		{"a.example.", "http://a.example", true},
		{"a.example", "http://a.example.:80", true},
		{"a.example", "http://b.a.example", false},
		{"a.example", "http://xa.example", false},
		{"b.example, a.example", "http://a.example", true},
		{"*.a.example", "http://b.a.example", true},
		{"*.A.example.", "http://c.b.a.example.", true},
		{"*.a.example", "http://a.example", false},
		{"*.a.example", "http://ba.example", false},
		{"*.a.example", "http://.a.example", false},
		{"*a.example", "http://xa.example", false}, // no pattern
		{"a.example:8080", "http://a.example:8080", true},
		{"a.example:8080", "http://a.example", false},
		{"a.example:80", "http://a.example", true},
		{"a.example:443", "https://a.example", true},
		{"*.a.example:443", "https://b.a.example", true},
		{"*.a.example:443", "http://b.a.example", false},
		{"[::1]", "http://[::1]:8080", true},
		{"::1", "http://[::1]", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]:8080", "http://[::1]", false},
		{"127.0.0.1", "http://127.0.0.1:1234", true},
		{"xn--bcher-kva.example", "http://xn--bcher-kva.example", true},
		{"xn--bcher-kva.example", "http://b\u00fccher.example", false}, // what is written is compared
		{" ", "http://a.example", false},
		{"none", "http://a.example", false},
	} {
		var patterns []string
		switch c.patterns {
		case "":
		case "none":
			patterns = []string{}
		default:
			patterns = strings.Split(c.patterns, ",")
		}
		tracer, recorder := testkit.NewTracer(t)
		var sent http.Header
		rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			return &http.Response{StatusCode: 204}, nil
		}), transport.Options{Tracer: tracer, PropagateTo: patterns})
		req, err := http.NewRequest("GET", c.target, nil)
		testkit.NoError(t, err)
		req.Header.Set("Traceparent", "mine")
		_, _ = rt.RoundTrip(req)
		what := c.patterns + ": " + c.target
		testkit.Equal(t, what, sent.Get("Traceparent") != "mine", c.want)
		testkit.Equal(t, what+": spans", len(recorder.Wait(t, 1)), 1)
	}
}

// What follows a redirect to a host that is not on the list does not get the
// headers of the first, sampled or not.
func TestPropagateToAndRedirects(t *testing.T) {
	testkit.NoLeaks(t)
	got := map[string]string{}
	s := serve(t, "1.1", func(w http.ResponseWriter, r *http.Request) {
		got[r.URL.Path] = r.Header.Get("Traceparent")
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "http://"+strings.Replace(r.Host, "127.0.0.1", "localhost", 1)+"/b", http.StatusFound)
		}
	})
	for name, sampler := range map[string]dendro.Sampler{"sampled": dendro.AlwaysSample, "not sampled": dendro.NeverSample} {
		clear(got)
		c := *s.Client()
		c.Transport = transport.New(c.Transport, transport.Options{
			Tracer: dendro.New(dendro.Options{Sampler: sampler}), PropagateTo: []string{"127.0.0.1"},
		})
		get(t, &c, context.Background(), s.URL+"/a")
		c.CloseIdleConnections()
		testkit.Equal(t, name+": on the list", len(got["/a"]), 55)
		testkit.Equal(t, name+": not on the list", got["/b"], "")
	}
}

// otherFormat is a propagator that is not W3C's.
type otherFormat struct{ dendro.W3C }

func (otherFormat) Inject(header map[string][]string, sc dendro.SpanContext, _ dendro.Baggage) {
	header["X-Trace"] = []string{sc.TraceID.String()}
}

// The request of the response is that of the caller, whatever headers were sent.
func TestRequestOfTheResponseWithoutTraceparent(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "2", func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		tracer  dendro.Options
		options transport.Options
	}{
		"other host":   {dendro.Options{}, transport.Options{PropagateTo: []string{"a.example"}}},
		"other format": {dendro.Options{Propagator: otherFormat{}}, transport.Options{}},
	} {
		c.options.Tracer = dendro.New(c.tracer)
		rt := transport.New(s.Client().Transport, c.options)
		for range 2 { // on a new connection and on a used one
			req, _ := http.NewRequest("POST", s.URL, strings.NewReader("body"))
			resp, err := rt.RoundTrip(req)
			testkit.NoError(t, err)
			resp.Body.Close()
			testkit.Equal(t, name+": context", resp.Request.Context(), context.Background())
		}
	}
}

func TestFilter(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Traceparent", r.Header.Get("Traceparent"))
	})
	tracer, recorder := testkit.NewTracer(t)
	c := *s.Client()
	c.Transport = transport.New(c.Transport, transport.Options{
		Tracer: tracer, Filter: func(r *http.Request) bool { return r.URL.Path != "/health" },
	})
	for path, want := range map[string]int{"/health": 0, "/": 55} {
		resp, err := c.Get(s.URL + path)
		testkit.NoError(t, err)
		resp.Body.Close()
		testkit.Equal(t, path+": traceparent", len(resp.Header.Get("X-Traceparent")), want)
	}
	testkit.Equal(t, "spans", len(recorder.Wait(t, 1)), 1)
}

func TestSpanName(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204}, nil
	}), transport.Options{Tracer: tracer, SpanName: func(r *http.Request) string { return r.Header.Get("X-Name") }})
	for _, name := range []string{"stock", ""} {
		req, _ := http.NewRequest("GET", "http://a.example", nil)
		req.Header.Set("X-Name", name)
		_, _ = rt.RoundTrip(req)
	}
	testkit.Equal(t, "names", testkit.Names(recorder.Wait(t, 2)), []string{"stock", "GET"})
}

func TestAttributes(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	broken := errors.New("broken")
	req, _ := http.NewRequest("GET", "http://a.example", nil)
	for name, c := range map[string]struct {
		resp *http.Response
		err  error
		want string
	}{
		"response": {&http.Response{StatusCode: 204, Request: req}, nil, "204"},
		"error":    {nil, broken, "broken"},
	} {
		recorder.Reset()
		rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) { return c.resp, c.err }), transport.Options{
			Tracer: tracer,
			Attributes: func(r *http.Request, resp *http.Response, err error) []slog.Attr {
				testkit.Equal(t, name+": request", r == req, true)
				if err != nil {
					return []slog.Attr{slog.String("outcome", err.Error())}
				}
				return []slog.Attr{slog.Int("outcome", resp.StatusCode)}
			},
		})
		_, _ = rt.RoundTrip(req)
		testkit.Equal(t, name, attributes(recorder.Wait(t, 1)[0])["outcome"], c.want)
	}
}

// The methods of an error may panic; the caller gets it all the same.
func TestErrorWhoseMethodsPanic(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	var failed *nilError
	rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) { return nil, failed }), transport.Options{Tracer: tracer})
	req, _ := http.NewRequest("GET", "http://b.example", nil)
	_, err := rt.RoundTrip(req)
	testkit.Equal(t, "the caller's error", err == error(failed), true) //nolint:errorlint // that very one
	span := recorder.Wait(t, 1)[0]
	testkit.Equal(t, "error.type", attributes(span)["error.type"], "*transport_test.nilError")
	testkit.Equal(t, "status", span.Status.Code, dendro.StatusError)
}

type nilError struct{ message string }

func (e *nilError) Error() string   { return e.message }
func (e *nilError) Unwrap() error   { return errors.New(e.message) }
func (e *nilError) Timeout() bool   { return e.message == "timeout" }
func (e *nilError) Temporary() bool { return e.message == "temporary" }

// In a URL that cannot be parsed, the position of the password is not known.
func TestInvalidProxyURL(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	proxy := "http://user:s3/cr3t@proxy.example" // not a valid URL
	base := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }}
	rt := transport.New(base, transport.Options{Tracer: tracer})
	req, _ := http.NewRequest("GET", "http://b.example", nil)
	_, err := rt.RoundTrip(req)
	testkit.Equal(t, "the caller's error", strings.Contains(err.Error(), "s3"), true)
	testkit.Equal(t, "status", strings.Contains(recorder.Wait(t, 1)[0].Status.Message, "s3"), false)
}

// A base that answers with a request of its own making keeps it.
func TestRequestOfTheBase(t *testing.T) {
	tracer, _ := testkit.NewTracer(t)
	rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
		own := *r
		own.Header = http.Header{"X-Added": {"1"}}
		return &http.Response{StatusCode: 204, Request: &own}, nil
	}), transport.Options{Tracer: tracer})
	req, _ := http.NewRequest("GET", "http://b.example", nil)
	resp, _ := rt.RoundTrip(req)
	testkit.Equal(t, "header", resp.Request.Header.Get("X-Added"), "1")
}

// An error that only contains the text of another one is redacted as well.
func TestURLsInWords(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	inner := &url.Error{Op: "Get", URL: "http://alice:s3cr3t@a.example/x?token=s3cr3t", Err: io.EOF}
	failed := fmt.Errorf("again: %v", inner) //nolint:errorlint // as some do
	rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) { return nil, failed }), transport.Options{Tracer: tracer})
	req, _ := http.NewRequest("GET", "http://b.example", nil)
	_, err := rt.RoundTrip(req)
	testkit.Equal(t, "the caller's error", err, failed)
	testkit.Equal(t, "message", recorder.Wait(t, 1)[0].Status.Message, `again: Get "http://a.example/x?token=REDACTED": EOF`)
}

// A hook that panics leaves neither the span nor the connection open.
func TestPanickingAttributes(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	closed := false
	rt := transport.New(roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: closer{strings.NewReader("x"), &closed}, Request: r}, nil
	}), transport.Options{Tracer: tracer, Attributes: func(*http.Request, *http.Response, error) []slog.Attr { panic("hook") }})
	func() {
		defer func() { testkit.Equal(t, "panic", recover(), any("hook")) }()
		req, _ := http.NewRequest("GET", "http://a.example", nil)
		_, _ = rt.RoundTrip(req)
	}()
	testkit.Equal(t, "error.type", attributes(recorder.Wait(t, 1)[0])["error.type"], "panic")
	testkit.Equal(t, "closed", closed, true)
}

type closer struct {
	io.Reader
	closed *bool
}

func (c closer) Close() error { *c.closed = true; return nil }

// net/http decodes what it has asked to be encoded: how much was sent is not known.
func TestSizeOfDecodedBody(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(make([]byte, 10_000))
		z.Close()
	})
	tracer, recorder := testkit.NewTracer(t)
	c := *s.Client()
	c.Transport = transport.New(c.Transport, transport.Options{Tracer: tracer})
	resp, err := c.Get(s.URL)
	testkit.NoError(t, err)
	n, _ := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	testkit.Equal(t, "decoded", n, int64(10_000))
	testkit.Equal(t, "size", recorder.Wait(t, 1)[0].Attr("http.response.body.size"), nil)
}

func TestOpaqueURL(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204}, nil
	}), transport.Options{Tracer: tracer})
	_, _ = rt.RoundTrip(&http.Request{Header: http.Header{}, URL: &url.URL{
		Scheme: "http", Host: "a.example", Opaque: "//a:s3cr3t@a.example/%2f", RawQuery: "t=s3cr3t"}})
	testkit.Equal(t, "url", attributes(recorder.Wait(t, 1)[0])["url.full"], "http://a.example/%2f?t=REDACTED")
}

func TestHeaders(t *testing.T) {
	testkit.NoLeaks(t)
	s := serve(t, "1.1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("X-Region", "north")
		w.Header().Add("X-Region", "south")
		w.Header().Set("Set-Cookie", "session=s3cr3t; HttpOnly")
	})
	tracer, recorder := testkit.NewTracer(t)
	c := *s.Client()
	c.Transport = transport.New(c.Transport, transport.Options{
		Tracer:          tracer,
		RequestHeaders:  []string{"accept", "Authorization", "X-Missing"},
		ResponseHeaders: []string{"X-Region", "Set-Cookie"},
	})
	req, _ := http.NewRequest("GET", s.URL, nil)
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Authorization", "Bearer s3cr3t")
	resp, err := c.Do(req)
	testkit.NoError(t, err)
	resp.Body.Close()
	span := recorder.Wait(t, 1)[0]
	for key, want := range map[string]any{
		"http.request.header.accept":        []string{"text/html"},
		"http.request.header.authorization": []string{"Bearer REDACTED"},
		"http.request.header.x-missing":     nil,
		"http.response.header.x-region":     []string{"north", "south"},
		"http.response.header.set-cookie":   []string{"session=REDACTED"},
	} {
		testkit.Equal(t, key, span.Attr(key), want)
	}
}

// The message of an error that has URLs in it is recorded without their secrets.
func TestURLsInErrors(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	inner := &url.Error{Op: "Get", URL: "http://alice:s3cr3t@a.example/x?token=s3cr3t", Err: io.ErrUnexpectedEOF}
	for name, c := range map[string]struct{ err, want error }{
		"url.Error": {inner, errors.New(`Get "http://a.example/x?token=REDACTED": unexpected EOF`)},
		"wrapped": {
			&url.Error{Op: "Post", URL: "http://b.example/?s3cr3t=s3cr3t", Err: errors.Join(errors.New("first"), inner)},
			errors.New("Post \"http://b.example/?s3cr3t=REDACTED\": first\nGet \"http://a.example/x?token=REDACTED\": unexpected EOF"),
		},
		"other": {io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
	} {
		recorder.Reset()
		rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) { return nil, c.err }), transport.Options{Tracer: tracer})
		req, _ := http.NewRequest("GET", "http://a.example", nil)
		_, err := rt.RoundTrip(req)
		testkit.Equal(t, name+": returned", err, c.err)
		span := recorder.Wait(t, 1)[0]
		testkit.Equal(t, name+": status", span.Status, dendro.Status{Code: dendro.StatusError, Message: c.want.Error()})
		testkit.Equal(t, name+": message", eventAttrs(span.Event("exception"))["exception.message"], any(c.want.Error()))
		testkit.Equal(t, name+": error.type", span.Attr("error.type"), any("eof"))
	}
}
