package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// The ids in the requests of TestTraceContext.
const (
	w3cTrace  = "12345678901234567890123456789012"
	w3cParent = "1234567890123456"
)

// outcome is what must become of the headers of a request: whether the trace continues
// or a new one begins, and the tracestate that is passed on.
type outcome struct {
	goesOn bool
	state  string
}

// traceContextCases are the cases of the test suite of W3C Trace Context, test/test.py
// in https://github.com/w3c/trace-context, with their names. Level 2 allows more keys
// in a tracestate than Level 1: any number of at signs, and 256 characters in all. The
// keys here are those of Level 2.
var traceContextCases = map[string]map[string]outcome{
	"test_both_traceparent_and_tracestate_missing": {"": {}},
	"test_traceparent_included_tracestate_missing": {parentLine("00", "01"): {true, ""}},
	"test_traceparent_duplicated":                  {parentLine("00", "01") + parentLine("00", "01"): {}},
	"test_traceparent_header_name": {
		"trace-parent: " + parentValue("00", "01") + "\r\n": {},
		"trace.parent: " + parentValue("00", "01") + "\r\n": {},
	},
	"test_traceparent_header_name_valid_casing": {
		"TraceParent: " + parentValue("00", "01") + "\r\n": {true, ""},
		"TrAcEpArEnT: " + parentValue("00", "01") + "\r\n": {true, ""},
		"TRACEPARENT: " + parentValue("00", "01") + "\r\n": {true, ""},
	},
	"test_traceparent_version_0x00": {parentLine("00", "01."): {}, parentLine("00", "01-what-the-future-will-be-like"): {}},
	"test_traceparent_version_0xcc": {
		parentLine("cc", "01"):                              {true, ""},
		parentLine("cc", "01-what-the-future-will-be-like"): {true, ""},
		parentLine("cc", "01.what-the-future-will-be-like"): {},
	},
	"test_traceparent_version_0xff":                   {parentLine("ff", "01"): {}},
	"test_traceparent_version_illegal_characters":     {parentLine(".0", "01"): {}, parentLine("0.", "01"): {}},
	"test_traceparent_version_too_long":               {parentLine("000", "01"): {}, parentLine("0000", "01"): {}},
	"test_traceparent_version_too_short":              {parentLine("0", "01"): {}},
	"test_traceparent_trace_id_all_zero":              idLines(strings.Repeat("0", 32), w3cParent),
	"test_traceparent_trace_id_illegal_characters":    idLines("."+w3cTrace[1:], w3cParent, w3cTrace[:31]+".", w3cParent),
	"test_traceparent_trace_id_too_long":              idLines(w3cTrace+"3", w3cParent),
	"test_traceparent_trace_id_too_short":             idLines(w3cTrace[:31], w3cParent),
	"test_traceparent_parent_id_all_zero":             idLines(w3cTrace, strings.Repeat("0", 16)),
	"test_traceparent_parent_id_illegal_characters":   idLines(w3cTrace, "."+w3cParent[1:], w3cTrace, w3cParent[:15]+"."),
	"test_traceparent_parent_id_too_long":             idLines(w3cTrace, w3cParent+"7"),
	"test_traceparent_parent_id_too_short":            idLines(w3cTrace, w3cParent[:15]),
	"test_traceparent_trace_flags_illegal_characters": {parentLine("00", ".0"): {}, parentLine("00", "0."): {}},
	"test_traceparent_trace_flags_too_long":           {parentLine("00", "001"): {}},
	"test_traceparent_trace_flags_too_short":          {parentLine("00", "1"): {}},
	"test_traceparent_ows_handling": {
		"traceparent:  " + parentValue("00", "01") + "\r\n":      {true, ""},
		"traceparent: \t" + parentValue("00", "01") + "\r\n":     {true, ""},
		"traceparent: " + parentValue("00", "01") + " \r\n":      {true, ""},
		"traceparent: " + parentValue("00", "01") + "\t\r\n":     {true, ""},
		"traceparent: \t " + parentValue("00", "01") + " \t\r\n": {true, ""},
	},
	"test_tracestate_included_traceparent_missing":  {"tracestate: foo=1\r\n": {}, "tracestate: foo=1,bar=2\r\n": {}},
	"test_tracestate_included_traceparent_included": states("foo=1,bar=2", "foo=1,bar=2"),
	"test_tracestate_header_name": {
		parentLine("00", "00") + "trace-state: foo=1\r\n": {true, ""},
		parentLine("00", "00") + "trace.state: foo=1\r\n": {true, ""},
	},
	"test_tracestate_header_name_valid_casing": {
		parentLine("00", "00") + "TraceState: foo=1\r\n": {true, "foo=1"},
		parentLine("00", "00") + "TrAcEsTaTe: foo=1\r\n": {true, "foo=1"},
		parentLine("00", "00") + "TRACESTATE: foo=1\r\n": {true, "foo=1"},
	},
	"test_tracestate_empty_header":                    states("", "", "foo=1\n", "foo=1", "\nfoo=1", "foo=1"),
	"test_tracestate_multiple_headers_different_keys": states("foo=1,bar=2\nrojo=1,congo=2\nbaz=3", "foo=1,bar=2,rojo=1,congo=2,baz=3"),
	"test_tracestate_duplicated_keys": states("foo=1,foo=1", "foo=1", "foo=1,foo=2", "foo=1",
		"foo=1\nfoo=1", "foo=1", "foo=1\nfoo=2", "foo=1"),
	"test_tracestate_all_allowed_characters": states(allKey+"="+allValue, allKey+"="+allValue,
		allKey+"@a-z0-9_-*/="+allValue, allKey+"@a-z0-9_-*/="+allValue),
	"test_tracestate_ows_handling": states("foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3",
		"foo=1\t \t,\t \tbar=2,\t \tbaz=3", "foo=1,bar=2,baz=3", " foo=1", "foo=1", "\tfoo=1", "foo=1",
		"foo=1 ", "foo=1", "foo=1\t", "foo=1", "\t foo=1 \t", "foo=1"),
	"test_tracestate_key_illegal_characters": states("foo =1", "", "FOO=1", "", "foo.bar=1", ""),
	"test_tracestate_key_illegal_vendor_format": states("@foo=1,bar=2", "",
		"foo@=1,bar=2", "foo@=1,bar=2", "foo@@bar=1,bar=2", "foo@@bar=1,bar=2"), // of Level 2
	"test_tracestate_member_count_limit": states(barMembers(1, 10)+"\n"+barMembers(11, 20)+"\n"+barMembers(21, 32), barMembers(1, 32),
		barMembers(1, 10)+"\n"+barMembers(11, 20)+"\n"+barMembers(21, 33), ""),
	"test_tracestate_key_length_limit": states("foo=1\n"+strings.Repeat("z", 256)+"=1", "foo=1,"+strings.Repeat("z", 256)+"=1",
		"foo=1\n"+strings.Repeat("z", 257)+"=1", "",
		"foo=1\n"+strings.Repeat("t", 241)+"@"+strings.Repeat("v", 14)+"=1", "foo=1,"+strings.Repeat("t", 241)+"@"+strings.Repeat("v", 14)+"=1",
		"foo=1\n"+strings.Repeat("t", 242)+"@"+strings.Repeat("v", 14)+"=1", ""),
	"test_tracestate_value_illegal_characters": states("foo=bar=baz", "", "foo=,bar=3", ""),
}

var (
	allKey   = "abcdefghijklmnopqrstuvwxyz0123456789_-*/"
	allValue = " !\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
)

func parentValue(version, flags string) string {
	return version + "-" + w3cTrace + "-" + w3cParent + "-" + flags
}

func parentLine(version, flags string) string {
	return "traceparent: " + parentValue(version, flags) + "\r\n"
}

// idLines returns traceparents with pairs of invalid ids.
func idLines(ids ...string) map[string]outcome {
	out := map[string]outcome{}
	for pair := range slices.Chunk(ids, 2) {
		out["traceparent: 00-"+pair[0]+"-"+pair[1]+"-01\r\n"] = outcome{}
	}
	return out
}

// states returns pairs of tracestate headers, a line each, and what is passed on.
func states(pairs ...string) map[string]outcome {
	out := map[string]outcome{}
	for pair := range slices.Chunk(pairs, 2) {
		lines := parentLine("00", "00")
		for header := range strings.SplitSeq(pair[0], "\n") {
			lines += "tracestate: " + header + "\r\n"
		}
		out[lines] = outcome{true, pair[1]}
	}
	return out
}

func barMembers(from, to int) string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("bar%02d=%02d", i, i))
	}
	return strings.Join(list, ",")
}

// service is a program that calls others while it handles a request.
type service struct {
	address string
	calls   chan http.Header // that arrived elsewhere
}

func startService(t *testing.T, calls int) *service {
	s := &service{calls: make(chan http.Header, calls)}
	tracer, _ := testkit.NewTracer(t)
	other := testkit.Serve(t, "1.1", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.calls <- r.Header }))
	client := &http.Client{Transport: transport.New(other.Client().Transport, transport.Options{Tracer: tracer})}
	trace := middleware.New(middleware.Options{Tracer: tracer})
	front := testkit.Serve(t, "1.1", trace(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for range calls {
			req, err := http.NewRequestWithContext(r.Context(), "GET", other.URL, nil)
			if err != nil {
				panic(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				panic(err)
			}
			resp.Body.Close()
		}
	})))
	s.address = front.Listener.Addr().String()
	return s
}

// ask sends a request with exactly these header lines, and returns the headers that
// arrive at the other services.
func (s *service) ask(t *testing.T, lines string) (out []http.Header) {
	conn, err := net.Dial("tcp", s.address)
	testkit.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+lines+"\r\n")
	testkit.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	testkit.NoError(t, err)
	resp.Body.Close()
	testkit.Equal(t, "answer", resp.StatusCode, 200)
	for range cap(s.calls) {
		out = append(out, <-s.calls)
	}
	return out
}

func TestTraceContext(t *testing.T) {
	testkit.NoLeaks(t)
	s := startService(t, 1)
	for name, requests := range traceContextCases {
		for lines, want := range requests {
			header := s.ask(t, lines)[0]
			parts := strings.Split(header.Get("traceparent"), "-")
			if len(header["Traceparent"]) != 1 || len(parts) != 4 {
				t.Fatalf("%s: %q: passed on %q", name, lines, header["Traceparent"])
			}
			testkit.Equal(t, name+": "+lines+" goes on", parts[1] == w3cTrace, want.goesOn)
			testkit.Equal(t, name+": "+lines+" has a parent of its own", parts[2] != w3cParent, true)
			testkit.Equal(t, name+": "+lines+" state", strings.Join(header["Tracestate"], "|"), want.state)
		}
	}
}

// The cases of the suite that make several calls for one request.
func TestTraceContextOfSeveralCalls(t *testing.T) {
	testkit.NoLeaks(t)
	s := startService(t, 3)
	for name, lines := range map[string]string{
		"test_multiple_requests_with_valid_traceparent":   parentLine("00", "01"),
		"test_multiple_requests_without_traceparent":      "",
		"test_multiple_requests_with_illegal_traceparent": "traceparent: 00-" + strings.Repeat("0", 32) + "-" + w3cParent + "-01\r\n",
	} {
		traces, parents := map[string]bool{}, map[string]bool{}
		for _, header := range s.ask(t, lines) {
			parts := strings.Split(header.Get("traceparent"), "-")
			traces[parts[1]], parents[parts[2]] = true, true
		}
		testkit.Equal(t, name+": traces", len(traces), 1)
		testkit.Equal(t, name+": parents", len(parents), 3)
		testkit.Equal(t, name+": goes on", traces[w3cTrace], strings.HasPrefix(lines, parentLine("00", "01")))
		testkit.Equal(t, name+": zero", traces[strings.Repeat("0", 32)], false)
	}
}
