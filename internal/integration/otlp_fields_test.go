package integration

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dendrotrace/dendro/collector"
	otlpserver "github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// notKept are the fields that do not come back as they were sent, and values of others.
// docs/formats.md has the reasons.
var notKept = map[string]string{
	"Resource.entity_refs":           "in development",
	"AnyValue.string_value_strindex": "of profiles only",
	"KeyValue.key_strindex":          "of profiles only",

	"Span.trace_id: empty":      "required",
	"Span.trace_id: extreme":    "required",
	"Span.span_id: empty":       "required",
	"Span.span_id: extreme":     "required",
	"Span.trace_state: extreme": "not a tracestate",
	"Link.trace_state: extreme": "not a tracestate",
	"Span.flags: extreme":       "reserved bits",
	"Link.flags: extreme":       "reserved bits",
	"KeyValue.key: empty":       "no key",

	"Span.start_time_unix_nano: extreme":                "after the year 2262",
	"Span.end_time_unix_nano: extreme":                  "after the year 2262",
	"Event.time_unix_nano: extreme":                     "after the year 2262",
	"Span.kind: extreme":                                "no such kind",
	"ExportTraceServiceRequest.resource_spans: extreme": "the same resources are sent once",
	"ResourceSpans.scope_spans: extreme":                "the same scopes are sent once",
	"Status.code: extreme":                              "no such code",
}

// ordinary returns a request that has every field of the messages once, except for those in
// notKept.
func ordinary() *coltracepb.ExportTraceServiceRequest {
	r := &coltracepb.ExportTraceServiceRequest{}
	fill(r.ProtoReflect(), 0)
	return r
}

const deepest = 3 // attributes inside attributes

func fill(m protoreflect.Message, depth int) {
	for i := range m.Descriptor().Fields().Len() {
		fd := m.Descriptor().Fields().Get(i)
		switch name := fieldName(fd); {
		case notKept[name] != "":
		case fd.ContainingOneof() != nil: // of an AnyValue: the kinds follow each other
			if i == (depth*5)%7 {
				m.Set(fd, valueOf(m, fd, "ordinary", depth))
			}
		default:
			m.Set(fd, valueOf(m, fd, "ordinary", depth))
		}
	}
}

func fieldName(fd protoreflect.FieldDescriptor) string {
	return string(fd.Parent().Name()) + "." + string(fd.Name())
}

// valueOf returns an ordinary, empty or extreme value for a field of m.
func valueOf(m protoreflect.Message, fd protoreflect.FieldDescriptor, which string, depth int) protoreflect.Value {
	if fd.IsList() {
		list := m.NewField(fd).List()
		n := map[string]int{"ordinary": 1, "empty": 0, "extreme": 200}[which]
		for range n {
			e := list.NewElement()
			below(e.Message(), depth)
			list.Append(e)
		}
		return protoreflect.ValueOfList(list)
	}
	ordinaryOr := func(ordinary, extreme any) protoreflect.Value {
		switch which {
		case "ordinary":
			return protoreflect.ValueOf(ordinary)
		case "extreme":
			return protoreflect.ValueOf(extreme)
		}
		return fd.Default()
	}
	switch fd.Kind() {
	case protoreflect.MessageKind:
		v := m.NewField(fd)
		if which != "empty" {
			below(v.Message(), depth)
		}
		return v
	case protoreflect.StringKind:
		if fd.Name() == "trace_state" {
			return ordinaryOr("vendor=1,other@x=2", "not a tracestate")
		}
		return ordinaryOr("text", strings.Repeat("ž☃𝄞\x00", 5000))
	case protoreflect.BytesKind:
		n := map[protoreflect.Name]int{"trace_id": 16, "span_id": 8, "parent_span_id": 8}[fd.Name()]
		if n == 0 {
			return ordinaryOr([]byte{0, 0xfb, 0xff}, slices.Repeat([]byte{0xff}, 9999))
		}
		return ordinaryOr(slices.Repeat([]byte{7}, n), slices.Repeat([]byte{0xff}, n))
	case protoreflect.BoolKind:
		return ordinaryOr(true, true)
	case protoreflect.Int64Kind:
		return ordinaryOr(int64(5), int64(math.MinInt64))
	case protoreflect.Int32Kind:
		return ordinaryOr(int32(5), int32(math.MinInt32))
	case protoreflect.DoubleKind:
		return ordinaryOr(0.1, math.Inf(-1))
	case protoreflect.EnumKind:
		return ordinaryOr(protoreflect.EnumNumber(2), protoreflect.EnumNumber(math.MaxInt32))
	case protoreflect.Fixed64Kind:
		return ordinaryOr(uint64(1_795_000_000_123_456_789), uint64(math.MaxUint64))
	case protoreflect.Uint32Kind:
		return ordinaryOr(uint32(7), uint32(math.MaxUint32))
	case protoreflect.Fixed32Kind: // flags: sampled, remote
		return ordinaryOr(uint32(0x301), uint32(math.MaxUint32))
	}
	panic("no value for " + fd.FullName())
}

// below fills a message inside another. Attributes inside of attributes end somewhere.
func below(m protoreflect.Message, depth int) {
	if m.Descriptor().Name() == "AnyValue" {
		if depth++; depth > deepest {
			return
		}
	}
	fill(m, depth)
}

// variants calls f with an ordinary request in which one field has another value.
func variants(t *testing.T, f func(name string, r *coltracepb.ExportTraceServiceRequest)) {
	seen := map[string]bool{}
	var walk func(root *coltracepb.ExportTraceServiceRequest, m protoreflect.Message, path string)
	walk = func(root *coltracepb.ExportTraceServiceRequest, m protoreflect.Message, path string) {
		for i := range m.Descriptor().Fields().Len() {
			fd := m.Descriptor().Fields().Get(i)
			if name := fieldName(fd); notKept[name] != "" {
				seen[name] = true
				continue
			}
			had, before := m.Has(fd), proto.Clone(m.Interface())
			for _, which := range []string{"empty", "extreme"} {
				name := fieldName(fd) + ": " + which
				if notKept[name] != "" {
					seen[name] = true
					continue
				}
				m.Set(fd, valueOf(m, fd, which, deepest))
				f(path+string(fd.Name())+": "+which, proto.Clone(root).(*coltracepb.ExportTraceServiceRequest))
				seen[fieldName(fd)] = true
			}
			proto.Reset(m.Interface())
			proto.Merge(m.Interface(), before)
			if had && fd.Message() != nil {
				next := m.Get(fd)
				if fd.IsList() {
					walk(root, next.List().Get(0).Message(), path+string(fd.Name())+".")
				} else {
					walk(root, next.Message(), path+string(fd.Name())+".")
				}
			}
		}
	}
	r := ordinary()
	f("ordinary", proto.Clone(r).(*coltracepb.ExportTraceServiceRequest))
	walk(r, r.ProtoReflect(), "")
	for name := range notKept {
		if !seen[name] {
			t.Errorf("%s is not a field of a message that was tried", name)
		}
	}
}

// TestOTLPFields: every field of every message comes back from api/v2/traces as it was sent,
// protobuf and JSON, unless docs/formats.md says why it does not.
func TestOTLPFields(t *testing.T) {
	eachStore(t, testOTLPFields)
}

func testOTLPFields(t *testing.T, store collector.Store) {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/traces", otlpserver.New(store, otlpserver.Options{MaxKeyBytes: 1 << 16, MaxNameBytes: 1 << 16}))
	mux.Handle("/", web.New(store, web.Options{Authorize: func(*http.Request) bool { return true }}))
	n := 0
	variants(t, func(name string, r *coltracepb.ExportTraceServiceRequest) {
		// Each is a trace of its own, so that it can be asked for.
		n++
		var spans []*tracepb.Span
		for _, rs := range r.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				spans = append(spans, ss.Spans...)
			}
		}
		if len(spans) == 0 {
			return // nothing comes back
		}
		id := slices.Concat(slices.Repeat([]byte{9}, 12), []byte{0, 0, byte(n >> 8), byte(n)})
		for i, s := range spans {
			s.TraceId = id
			s.SpanId = []byte{1, 2, 3, 4, 5, 6, byte(i >> 8), byte(i)}
		}
		body, err := proto.Marshal(r)
		testkit.NoError(t, err)
		post := httptest.NewRequest("POST", "/v1/traces", strings.NewReader(string(body)))
		post.Header.Set("Content-Type", "application/x-protobuf")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, post)
		if w.Code != http.StatusOK || w.Body.Len() > 0 {
			t.Fatalf("%s: %d %q", name, w.Code, w.Body)
		}
		want := &tracepb.TracesData{ResourceSpans: r.ResourceSpans}
		normalize(want)
		for _, accept := range traceFormats {
			if got := traceFrom(t, mux, id, accept); !proto.Equal(got, want) {
				t.Errorf("%s, %s:\n got %.3000s\nwant %.3000s", name, accept, prototext.Format(got), prototext.Format(want))
			}
		}
	})
	t.Logf("%d requests, each in protobuf and JSON", n)
	if n < 100 {
		t.Errorf("only %d requests", n)
	}
}

// traceFormats are the formats in which traceFrom can ask for a trace.
var traceFormats = []string{"application/protobuf", "application/json"}

// traceFrom returns the trace that api/v2/traces of a page has, normalized.
func traceFrom(t *testing.T, page http.Handler, id []byte, accept string) *tracepb.TracesData {
	t.Helper()
	get := httptest.NewRequest("GET", fmt.Sprintf("/api/v2/traces/%x", id), nil)
	get.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	page.ServeHTTP(w, get)
	data, unmarshal := w.Body.Bytes(), proto.Unmarshal
	if accept == "application/json" {
		var response struct{ Trace json.RawMessage }
		testkit.NoError(t, json.Unmarshal(data, &response))
		data, unmarshal = recodeIDs(t, response.Trace, func(id string) (string, error) {
			b, err := hex.DecodeString(id)
			return base64.StdEncoding.EncodeToString(b), err
		}), protojson.Unmarshal
	} else {
		_, _, n := protowire.ConsumeTag(data)
		data, _ = protowire.ConsumeBytes(data[n:])
	}
	got := &tracepb.TracesData{}
	if err := unmarshal(data, got); err != nil {
		t.Fatalf("%s: %v in %.300q", accept, err, data)
	}
	normalize(got)
	return got
}

// normalize removes differences without a meaning: a message that is missing, or that has
// no field.
func normalize(traces *tracepb.TracesData) {
	var walk func(m protoreflect.Message)
	walk = func(m protoreflect.Message) {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case fd.Message() == nil:
			case fd.IsList():
				for i := range v.List().Len() {
					walk(v.List().Get(i).Message())
				}
			default:
				walk(v.Message())
				if fd.ContainingOneof() == nil && proto.Size(v.Message().Interface()) == 0 {
					m.Clear(fd)
				}
			}
			return true
		})
	}
	walk(traces.ProtoReflect())
	for _, rs := range traces.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				// An event or link without a field is counted as dropped.
				s.Events = slices.DeleteFunc(s.Events, func(e *tracepb.Span_Event) bool { return proto.Size(e) == 0 })
			}
		}
	}
}
