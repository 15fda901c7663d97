package server

import (
	"fmt"
	"mime"
	"net/http"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Codes of google.rpc.Status that this package uses.
const (
	codeInvalidArgument = 3
	codeUnavailable     = 14
)

// format is an encoding of OTLP. A response has the format of its request.
type format struct {
	contentType  string
	decode       func([]byte) ([]*dendro.Batch, error)
	appendResult func(otlp.Result, []byte) []byte
	appendStatus func(dst []byte, code int32, message string) []byte
}

var (
	protobuf = &format{"application/x-protobuf", otlp.DecodeTraces, otlp.Result.AppendProto, otlp.AppendStatus}
	json     = &format{"application/json", otlp.DecodeTracesJSON, otlp.Result.AppendJSON, otlp.AppendStatusJSON}
)

func formatOf(r *http.Request) (f *format, ok bool) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // "" if it cannot be parsed
	switch mediaType {
	case protobuf.contentType:
		return protobuf, true
	case json.contentType:
		return json, true
	}
	return nil, false
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

func (f *format) fail(w http.ResponseWriter, status int, code int32, message string) {
	f.write(w, status, f.appendStatus(nil, code, message))
}

func (f *format) write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", f.contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
