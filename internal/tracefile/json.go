// Package tracefile reads files of traces: OTLP in JSON, also one request a line, and in protobuf,
// the JSON of Tempo and Jaeger, and Zipkin v2 JSON. The content says what format a file has.
package tracefile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/jaeger"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/zipkin"
)

// errUnknownFormat says what decodeValue understands.
var errUnknownFormat = errors.New(`its format is not known. These are: OTLP JSON ("resourceSpans", also one request a line), ` +
	`the JSON of Tempo ("batches", "trace") and Jaeger ("data", "spans"), and Zipkin v2 JSON (a list of spans)`)

// decodeValue decodes a JSON value.
func decodeValue(value json.RawMessage) ([]*dendro.Batch, error) {
	if value[0] == '[' {
		batches, err := zipkin.Decode(value)
		if err != nil {
			err = fmt.Errorf("as Zipkin JSON: %w", err)
		}
		return batches, err
	}
	if bytes.HasPrefix(value, []byte(`{"resourceSpans":[`)) && !bytes.Contains(value, base64End) { // which is faster
		return decodeOTLP(value)
	}
	var has struct {
		otlpKeys
		Trace  *otlpKeys       `json:"trace"`  // of Tempo's API
		Result *otlpKeys       `json:"result"` // of Jaeger's API version 3
		Data   json.RawMessage `json:"data"`
		Spans  json.RawMessage `json:"spans"`
	}
	// What is no object, or has keys of a wrong type, is not known.
	if json.Unmarshal(value, &has) != nil {
		return nil, errUnknownFormat
	}
	for _, in := range []*otlpKeys{&has.otlpKeys, has.Trace, has.Result} {
		if in != nil && (in.ResourceSpans != nil || in.Batches != nil) {
			return in.decode()
		}
	}
	if has.Data == nil && has.Spans == nil {
		return nil, errUnknownFormat
	}
	batches, err := jaeger.Decode(value)
	if err != nil {
		err = fmt.Errorf("as Jaeger JSON: %w", err)
	}
	return batches, err
}

// otlpKeys is OTLP's TracesData. Tempo gives its field another name.
type otlpKeys struct {
	ResourceSpans json.RawMessage `json:"resourceSpans"`
	Batches       json.RawMessage `json:"batches"`
}

func (k *otlpKeys) decode() ([]*dendro.Batch, error) {
	spans := k.ResourceSpans
	if spans == nil {
		spans = k.Batches
	}
	return decodeOTLP(fmt.Appendf(nil, `{"resourceSpans":%s}`, hexIDs(spans)))
}

func decodeOTLP(data []byte) ([]*dendro.Batch, error) {
	batches, err := otlp.DecodeTracesJSON(data)
	if err != nil {
		err = fmt.Errorf("as OTLP JSON: %w", err)
	}
	return batches, err
}

// base64ID matches a field with an id of 16 or 8 bytes in base64. In a JSON string, a quote has a
// backslash before it.
var base64ID = regexp.MustCompile(`"(?:traceId|spanId|parentSpanId)"\s*:\s*"([A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{11}=)"`)

// base64End is how a base64ID ends.
var base64End = []byte(`="`)

// hexIDs returns spans with ids in hexadecimal, as OTLP has them. Tempo's API returns base64.
func hexIDs(spans []byte) []byte {
	var out []byte
	last := 0
	for _, at := range base64ID.FindAllSubmatchIndex(spans, -1) {
		id, err := base64.StdEncoding.DecodeString(string(spans[at[2]:at[3]]))
		if err != nil {
			continue
		}
		out = fmt.Appendf(append(out, spans[last:at[2]]...), "%x", id)
		last = at[3]
	}
	if last == 0 {
		return spans
	}
	return append(out, spans[last:]...)
}
