package otlp

import (
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendStatus appends a google.rpc.Status to dst in protobuf. It is the body of a
// response that refuses a request (OTLP specification, "Failures"). code is a gRPC
// status code, for example 3 for an invalid argument.
func AppendStatus(dst []byte, code int32, message string) []byte {
	if code != 0 {
		dst = append(dst, rpcStatusCode<<3|varint)
		dst = protowire.AppendVarint(dst, uint64(code))
	}
	return appendText(dst, rpcStatusMessage, message)
}

// AppendStatusJSON is [AppendStatus] for the JSON encoding.
func AppendStatusJSON(dst []byte, code int32, message string) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendJSONString(dst, message)
	return append(dst, '}')
}

// AppendRetryInfo appends to a protobuf google.rpc.Status the detail google.rpc.RetryInfo: the
// client should send the request again, after some time (OTLP specification, "OTLP/gRPC
// Throttling").
func AppendRetryInfo(status []byte, after time.Duration) []byte {
	status, detail := begin(status, rpcStatusDetails, 1)
	status = appendText(status, anyTypeURL, "type.googleapis.com/google.rpc.RetryInfo")
	status, info := begin(status, anyMessage, 1)
	status, delay := begin(status, retryInfoDelay, 1)
	status = append(status, durationSeconds<<3|varint)
	status = protowire.AppendVarint(status, uint64(after/time.Second))
	status = append(status, durationNanos<<3|varint)
	status = protowire.AppendVarint(status, uint64(after%time.Second))
	status = end(status, delay, 1)
	status = end(status, info, 1)
	return end(status, detail, 1)
}

// DecodeStatus decodes a protobuf google.rpc.Status. It returns an error that names
// the field if data is truncated or a field has the wrong type.
func DecodeStatus(data []byte) (code int32, message string, err error) {
	err = rpcStatusFields.walk(value{typ: protowire.BytesType, data: data}, func(num int, v value) (err error) {
		switch num {
		case rpcStatusCode:
			var n int64
			n, err = v.int64()
			code = int32(n)
		case rpcStatusMessage:
			message, err = v.text()
		}
		return err
	})
	if err != nil {
		return 0, "", err
	}
	return code, message, nil
}
