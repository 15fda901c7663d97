package server

import "sync/atomic"

// Stats has what a [Handler] received since [New].
type Stats struct {
	// Protocols has the counts of each protocol, always all of them in the same order.
	Protocols []ProtocolStats
	// InFlightBytes is what now counts for Options.MaxInFlightBytes.
	InFlightBytes int64
}

// ProtocolStats counts what arrived by one protocol. ReceivedSpans is the sum of StoredSpans
// and RejectedSpans, except for those that are being written.
type ProtocolStats struct {
	// Protocol is otlp_http_protobuf, otlp_http_json, otlp_grpc, zipkin_json, or unknown for
	// requests of which neither path nor Content-Type tells.
	Protocol string
	// Requests counts the requests, with those that were refused.
	Requests uint64
	// Bytes counts the bytes of their bodies as they were sent, without what was not read.
	Bytes uint64
	// ReceivedSpans counts the spans that were decoded.
	ReceivedSpans uint64
	// StoredSpans counts the spans that the Writer has written.
	StoredSpans uint64
	// RejectedSpans counts the spans that were decoded but not stored, by reason: rejected is
	// for those that the Writer can never store, and the others are those of RefusedRequests.
	// It has all reasons.
	RejectedSpans map[string]uint64
	// RefusedRequests counts the requests that were refused, by reason: not_found, method,
	// content_type, content_encoding, too_large, invalid, busy (MaxInFlightBytes), timeout,
	// too_many_spans, full (the Writer has no room), unavailable (another error of the
	// Writer) and canceled (the client has gone, or the server shuts down). It has all reasons.
	RefusedRequests map[string]uint64
	// TruncatedTexts counts the attribute values, messages and names that were cut.
	TruncatedTexts uint64
	// DroppedAttributes, DroppedEvents and DroppedLinks count what exceeded the limits of
	// Options. They do not count what senders say that they dropped.
	DroppedAttributes, DroppedEvents, DroppedLinks uint64
}

// counters are the counts of one protocol.
type counters struct {
	requests, bytes                      atomic.Uint64
	received, stored                     atomic.Uint64
	truncated, attributes, events, links atomic.Uint64
	refused                              [numReasons]atomic.Uint64 // requests
	rejected                             [numReasons]atomic.Uint64 // spans
}

// Stats returns the counts. Those of requests that are being received may be incomplete.
func (h *Handler) Stats() Stats {
	s := Stats{InFlightBytes: h.inFlight.Load(), Protocols: make([]ProtocolStats, numFormats)}
	for _, f := range formats {
		c := &h.counters[f.index]
		p := ProtocolStats{
			Protocol:          f.name,
			Requests:          c.requests.Load(),
			Bytes:             c.bytes.Load(),
			ReceivedSpans:     c.received.Load(),
			StoredSpans:       c.stored.Load(),
			RejectedSpans:     map[string]uint64{},
			RefusedRequests:   map[string]uint64{},
			TruncatedTexts:    c.truncated.Load(),
			DroppedAttributes: c.attributes.Load(),
			DroppedEvents:     c.events.Load(),
			DroppedLinks:      c.links.Load(),
		}
		for reason := range numReasons {
			name := reasons[reason].name
			if reason != rejected {
				p.RefusedRequests[name] = c.refused[reason].Load()
			}
			if reason >= tooSlow {
				p.RejectedSpans[name] = c.rejected[reason].Load()
			}
		}
		s.Protocols[f.index] = p
	}
	return s
}
