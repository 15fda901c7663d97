package server

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro/collector/otlp"
)

const exportPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// prefixBytes is the size of what precedes a message: a flag that says whether it is
// compressed, and its length (PROTOCOL-HTTP2.md, "Length-Prefixed-Message").
const prefixBytes = 5

// serveGRPC serves the unary calls of gRPC (PROTOCOL-HTTP2.md). The status of a call that
// succeeds is in the trailers. That of another one is in the headers, because nothing follows
// them ("Trailers-Only").
func (h *Handler) serveGRPC(w http.ResponseWriter, r *http.Request) {
	c := h.begin(grpc)
	defer c.end()
	if r.ProtoMajor < 2 {
		c.failText(w, &refusal{wrongType, "gRPC needs HTTP/2"})
		return
	}
	if r.Method != http.MethodPost {
		c.failText(w, errMethod)
		return
	}
	result, bad := c.receiveGRPC(w, r)
	w.Header().Set("Content-Type", grpc.contentType)
	w.Header().Set("Grpc-Accept-Encoding", strings.ReplaceAll(acceptEncoding, " ", ""))
	if bad != nil {
		c.refused[bad.reason].Add(1)
		setStatus(w.Header(), bad)
		w.WriteHeader(http.StatusOK)
		return
	}
	message := grpc.appendResult(result, make([]byte, prefixBytes))
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-prefixBytes))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(message)
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

func (c *call) receiveGRPC(w http.ResponseWriter, r *http.Request) (otlp.Result, *refusal) {
	if r.URL.Path != exportPath {
		return otlp.Result{}, &refusal{notFound, fmt.Sprintf("unknown method %.100q: dendro receives traces by %s", r.URL.Path, exportPath)}
	}
	encoding := r.Header.Get("Grpc-Encoding")
	pool, bad := decompressorOf(encoding)
	if bad != nil {
		return otlp.Result{}, bad
	}
	ctx, wait := r.Context(), c.options.ReadTimeout
	if text := r.Header.Get("Grpc-Timeout"); text != "" {
		timeout, err := parseTimeout(text)
		if err != nil {
			return otlp.Result{}, &refusal{invalid, err.Error()}
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
		wait = min(wait, timeout)
	}
	return c.receive(ctx, w, wait, func() (*sync.Pool, *refusal) {
		compressed, bad := c.readMessage(r.Body)
		switch {
		case bad != nil:
			return nil, bad
		case !compressed:
			return nil, nil
		case pool == nil:
			return nil, &refusal{invalid, fmt.Sprintf("the message is compressed, but grpc-encoding is %.100q", encoding)}
		}
		return pool, nil
	})
}

// readMessage reads the only message of a call into c.raw.
func (c *call) readMessage(src io.Reader) (compressed bool, bad *refusal) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(src, prefix[:]); err != nil {
		return false, c.readError(err)
	}
	if prefix[0] > 1 {
		return false, &refusal{invalid, fmt.Sprintf("want flag 0 or 1 before the message, got %d", prefix[0])}
	}
	length := int64(binary.BigEndian.Uint32(prefix[1:]))
	if length > c.options.MaxBodyBytes {
		return false, largerThan(c.options.MaxBodyBytes)
	}
	if bad := c.read(io.LimitReader(src, length)); bad != nil {
		return false, bad
	}
	if int64(c.raw.Len()) < length {
		return false, c.readError(io.ErrUnexpectedEOF)
	}
	switch _, err := io.ReadFull(src, prefix[:1]); {
	case err == nil:
		return false, &refusal{invalid, "want one message, got more"}
	case !errors.Is(err, io.EOF):
		return false, c.readError(err)
	}
	return prefix[0] == 1, nil
}

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// parseTimeout parses the header grpc-timeout: up to eight digits and a unit.
func parseTimeout(text string) (time.Duration, error) {
	digits := text[:len(text)-1]
	n, err := strconv.ParseUint(digits, 10, 32)
	unit := timeoutUnits[text[len(text)-1]]
	if err != nil || len(digits) > 8 || unit == 0 {
		return 0, fmt.Errorf("grpc-timeout: want up to 8 digits and a unit, got %.40q", text)
	}
	if n > uint64(maxTimeout/unit) {
		return maxTimeout, nil
	}
	return time.Duration(n) * unit, nil
}

// maxTimeout is longer than any call takes.
const maxTimeout = 1000 * time.Hour

// setStatus sets the headers that say why a call has failed.
func setStatus(h http.Header, bad *refusal) {
	code := reasons[bad.reason].code
	status := otlp.AppendStatus(nil, code, bad.message)
	if reasons[bad.reason].retry {
		status = otlp.AppendRetryInfo(status, retryAfter)
	}
	h.Set("Grpc-Status", strconv.Itoa(int(code)))
	h.Set("Grpc-Message", percentEncode(bad.message))
	h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(status))
}

// percentEncode encodes what a status message must not contain as it is (PROTOCOL-HTTP2.md,
// "Status-Message").
func percentEncode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
