package remote

import (
	"maps"

	"github.com/dendrotrace/dendro/collector/keep"
)

// Stats counts what a [Client] has sent, holds and has dropped. It counts what an earlier
// process has left in the spool as soon as it is sent or dropped.
type Stats struct {
	// SentSpans and SentRequests count what the collector accepted.
	SentSpans, SentRequests uint64
	// SentBytes is the size of these requests after compression, without headers.
	SentBytes uint64
	// QueuedSpans and QueuedBytes are what the client holds, before compression.
	QueuedSpans, QueuedBytes int
	// SpooledSpans and SpooledBytes are what [Options.Spool] holds, on disk and
	// compressed, including what an earlier process has left. Each request takes a
	// multiple of 4 KiB.
	SpooledSpans int
	SpooledBytes int64
	// SpoolErrors counts operations on the spool that failed.
	SpoolErrors uint64
	// Dropped counts accepted spans that were lost, by reason: "rejected" by the
	// collector, "unreachable" if they could not be delivered from memory within
	// [Options.MaxElapsed], "shutdown" if they were left in memory at the end,
	// "spool_full" if they made room for newer ones in the spool, and "spool_damaged"
	// if the spool does not return them as they were written. Spans that Collect
	// refuses are counted in [dendro.Stats.Dropped].
	Dropped map[string]uint64
	// Keep counts what became of the traces, if [Options.Keep] is set. It is nil otherwise.
	Keep *keep.Stats
	// LastError is the error of the last request, or the warning in its response. It
	// is nil if there was neither.
	LastError error
}

// Stats returns the current counts. The caller owns the map.
func (c *Client) Stats() Stats {
	c.sender.mu.Lock()
	s := c.sender.stats
	s.Dropped = maps.Clone(s.Dropped)
	c.sender.mu.Unlock()
	s.QueuedSpans, s.QueuedBytes = c.queue.size()
	if c.spool != nil {
		held := c.spool.Size()
		s.SpooledSpans, s.SpooledBytes, s.SpoolErrors = held.Spans, held.Bytes, held.Errors
	}
	if c.keeper != nil {
		kept := c.keeper.Recorder.Stats()
		s.Keep = &kept
	}
	return s
}
