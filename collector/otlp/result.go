package otlp

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Result is the response to a request that was accepted at least in part
// (ExportTraceServiceResponse). The zero value means that all spans were accepted.
type Result struct {
	// Rejected is the number of spans that were not accepted and must not be sent
	// again.
	Rejected int64
	// Message is the reason, or a warning if no span was rejected.
	Message string
}

// AppendProto appends r to dst in protobuf. It appends nothing for the zero value.
func (r Result) AppendProto(dst []byte) []byte {
	if r == (Result{}) {
		return dst
	}
	dst, message := begin(dst, responsePartialSuccess, 1)
	if r.Rejected != 0 {
		dst = append(dst, partialRejectedSpans<<3|varint)
		dst = protowire.AppendVarint(dst, uint64(r.Rejected))
	}
	dst = appendText(dst, partialErrorMessage, r.Message)
	return end(dst, message, 1)
}

// AppendJSON appends r to dst in JSON, which is {} for the zero value.
func (r Result) AppendJSON(dst []byte) []byte {
	if r == (Result{}) {
		return append(dst, "{}"...)
	}
	dst = append(dst, `{"partialSuccess":{"rejectedSpans":"`...)
	dst = strconv.AppendInt(dst, r.Rejected, 10)
	dst = append(dst, '"')
	if r.Message != "" {
		dst = append(dst, `,"errorMessage":`...)
		dst = appendJSONString(dst, r.Message)
	}
	return append(dst, "}}"...)
}

// DecodeResult decodes a protobuf ExportTraceServiceResponse. It returns an error that
// names the field if data is truncated or a field has the wrong type.
func DecodeResult(data []byte) (Result, error) {
	return decodeResult(value{typ: protowire.BytesType, data: data})
}

// DecodeResultJSON is [DecodeResult] for the JSON encoding.
func DecodeResultJSON(data []byte) (Result, error) {
	c, err := newCursor(data)
	if err != nil {
		return Result{}, err
	}
	return decodeResult(value{json: c})
}

func decodeResult(v value) (r Result, err error) {
	err = responseFields.walk(v, func(_ int, v value) error {
		return partialSuccessFields.walk(v, func(num int, v value) (err error) {
			switch num {
			case partialRejectedSpans:
				r.Rejected, err = v.int64()
			case partialErrorMessage:
				r.Message, err = v.text()
			}
			return err
		})
	})
	if err != nil {
		return Result{}, err
	}
	return r, nil
}
