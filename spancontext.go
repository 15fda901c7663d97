package dendro

import (
	"encoding/hex"
	"errors"
)

// ErrInvalidTraceparent is returned when a traceparent header does not follow the
// grammar of W3C Trace Context.
var ErrInvalidTraceparent = errors.New("dendro: invalid traceparent")

// TraceFlags are the flags of a W3C traceparent.
type TraceFlags byte

const (
	// FlagSampled means that the caller records the trace.
	FlagSampled TraceFlags = 1 << 0
	// FlagRandom means that the last 7 bytes of the trace id are random (W3C Trace
	// Context Level 2).
	FlagRandom TraceFlags = 1 << 1
)

// Sampled reports whether the caller records the trace.
func (f TraceFlags) Sampled() bool { return f&FlagSampled != 0 }

// SpanContext is the part of a span that is propagated: in a header to the next
// service, in a link, or in a log record. The zero value is invalid and means that
// there is no span.
type SpanContext struct {
	TraceID TraceID
	SpanID  SpanID
	Flags   TraceFlags
	// Deferred means that the sender left the sampling decision to the receiver, as B3
	// and Datadog permit. Flags are not sampled then.
	Deferred bool
	// State is the vendor data that came with the trace. It is propagated unchanged,
	// unless the [Sampler] changes it.
	State TraceState
}

// IsValid reports whether both ids are set.
func (sc SpanContext) IsValid() bool { return sc.TraceID.IsValid() && sc.SpanID.IsValid() }

// traceparentLen is the length of a version 00 traceparent.
const traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2

// Traceparent returns sc as a W3C traceparent of version 00, or "" if sc is not valid.
func (sc SpanContext) Traceparent() string {
	if !sc.IsValid() {
		return ""
	}
	return string(sc.AppendTraceparent(make([]byte, 0, traceparentLen)))
}

// AppendTraceparent appends sc to dst as a W3C traceparent of version 00. It appends
// nothing if sc is not valid.
func (sc SpanContext) AppendTraceparent(dst []byte) []byte {
	if !sc.IsValid() {
		return dst
	}
	dst = append(dst, "00-"...)
	dst = hex.AppendEncode(dst, sc.TraceID[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, sc.SpanID[:])
	return append(dst, '-', '0', '0'+byte(sc.Flags&(FlagSampled|FlagRandom)))
}

// ParseTraceparent parses a W3C traceparent (Trace Context Level 2, section 3.2). As
// the specification asks, it reads the fields of version 00 from a higher version too.
// Unknown flags are dropped. It returns [ErrInvalidTraceparent] for anything else.
func ParseTraceparent(s string) (SpanContext, error) {
	var version, flags [1]byte
	var sc SpanContext
	switch {
	case len(s) < traceparentLen,
		s[2] != '-' || s[35] != '-' || s[52] != '-',
		!decodeHex(version[:], s[:2]),
		version[0] == 0xff,
		version[0] == 0 && len(s) != traceparentLen,
		len(s) > traceparentLen && s[traceparentLen] != '-',
		!decodeHex(sc.TraceID[:], s[3:35]),
		!decodeHex(sc.SpanID[:], s[36:52]),
		!decodeHex(flags[:], s[53:55]),
		!sc.IsValid():
		return SpanContext{}, ErrInvalidTraceparent
	}
	sc.Flags = TraceFlags(flags[0]) & (FlagSampled | FlagRandom)
	return sc, nil
}
