// Package keep decides in each process which traces to send, after they have ended.
//
// A [Recorder] stands in front of the client that sends spans. It records all of them into a ring in
// memory and sends only the traces that matter: those with an error, the slowest of each operation, and so
// on, see [Options]. The other processes that such a trace has passed through still have their part of it
// in their rings. They hear of it from the [Hub] of the collector, and send what they have.
//
//	process ── Collect ──► Recorder ── rule ──► sends its part, and announces the trace id ──┐
//	                          │                                                              ▼
//	                         ring ◄──────────── the other processes are told ◄────────────  Hub
//
// The idea is that of Hindsight (Zhang et al., "The Benefit of Hindsight: Tracing Edge-Cases in Distributed
// Systems", NSDI 2023). Package collector/remote has the client side of the protocol and package
// collector/server the other one; a program sets Options.Keep of package remote and needs neither this
// package's Recorder nor its Hub.
package keep

import (
	"encoding/binary"

	"github.com/dendrotrace/dendro"
)

// Reasons for keeping a trace. That of [dendro.Span.Keep] is any other text.
const (
	ReasonError     = "error"     // a span has an error
	ReasonNew       = "new"       // the first trace of an operation in this process
	ReasonSlow      = "slow"      // among the slowest of its operation
	ReasonRepeats   = "repeats"   // a statement was repeated (N+1 queries)
	ReasonPoolWait  = "pool_wait" // it waited long for a connection to a database
	ReasonAttribute = "attribute" // it has one of Options.Attributes
	ReasonOrdinary  = "ordinary"  // one a minute of each operation
	ReasonRequest   = "request"   // somebody has asked for it
	ReasonHold      = "hold"      // everything was kept for some time
)

// WeightKey is the attribute that says for how many traces one that was kept stands. Like
// [dendro.KeepReason] it is an attribute of the local root, in the process that has decided.
const WeightKey = "dendro.keep.weight"

// Announcement says that a trace is kept.
type Announcement struct {
	TraceID dendro.TraceID `json:"traceId"`
	Reason  string         `json:"reason,omitempty"` // at most 64 bytes
}

// maxReason bounds the length of a reason in an announcement, in bytes.
const maxReason = 64

// priority returns a number from 0 to 1 that depends only on the trace id. When there is too much to keep,
// every process keeps the traces with the highest priority, and so the same ones. Ids that are not random are
// mixed (the finalizer of MurmurHash3, https://github.com/aappleby/smhasher).
func priority(id dendro.TraceID) float64 {
	h := binary.BigEndian.Uint64(id[8:]) ^ binary.BigEndian.Uint64(id[:8])
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	h ^= h >> 33
	return float64(h>>11) / (1 << 53)
}
