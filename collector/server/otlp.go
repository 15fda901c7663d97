package server

import (
	"fmt"
	"mime"
	"net/http"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/zipkin"
)

// format is an encoding of spans. In OTLP, a response has the format of its request.
type format struct {
	index        int    // in Handler.counters
	name         string // in Stats
	contentType  string
	decode       func([]byte) ([]*dendro.Batch, error)
	appendResult func(otlp.Result, []byte) []byte
	appendStatus func(dst []byte, code int32, message string) []byte
}

const numFormats = 5

var (
	protobuf   = &format{0, "otlp_http_protobuf", "application/x-protobuf", otlp.DecodeTraces, otlp.Result.AppendProto, otlp.AppendStatus}
	json       = &format{1, "otlp_http_json", "application/json", otlp.DecodeTracesJSON, otlp.Result.AppendJSON, otlp.AppendStatusJSON}
	grpc       = &format{2, "otlp_grpc", "application/grpc", otlp.DecodeTraces, otlp.Result.AppendProto, otlp.AppendStatus}
	zipkinJSON = &format{3, "zipkin_json", "application/json", zipkin.Decode, nil, nil}
	unknown    = &format{index: 4, name: "unknown"}

	formats = [numFormats]*format{protobuf, json, grpc, zipkinJSON, unknown}
)

// mediaTypeOf returns the Content-Type of r without parameters. It is "" if there is no valid
// one.
func mediaTypeOf(r *http.Request) string {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return mediaType
}

const tracesPath = "/v1/traces"

func (h *Handler) serveOTLP(w http.ResponseWriter, r *http.Request, mediaType string) {
	f := unknown
	switch mediaType {
	case protobuf.contentType:
		f = protobuf
	case json.contentType:
		f = json
	}
	c := h.begin(f)
	defer c.end()
	if f == unknown {
		bad := &refusal{wrongType, "want Content-Type " + protobuf.contentType + " or " + json.contentType}
		if r.Method != http.MethodPost {
			bad = errMethod
		}
		c.failText(w, bad)
		return
	}
	result, bad := c.receiveHTTP(w, r)
	if bad == nil {
		f.write(w, http.StatusOK, f.appendResult(result, nil))
		return
	}
	c.header(w, bad)
	f.write(w, reasons[bad.reason].status, f.appendStatus(nil, reasons[bad.reason].code, bad.message))
}

func (f *format) write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", f.contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// emptyMessage returns a warning if body, which decoded to no spans, has unknown keys.
// Otherwise it returns "".
func (f *format) emptyMessage(body []byte) string {
	if f != json {
		return ""
	}
	keys := otlp.UnknownKeysJSON(body)
	if len(keys) == 0 {
		return ""
	}
	return fmt.Sprintf("no spans, but unknown keys: %q; the keys of OTLP/JSON are in lowerCamelCase, such as resourceSpans", keys)
}
