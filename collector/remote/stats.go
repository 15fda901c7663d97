package remote

import "maps"

// Stats counts what a [Client] has sent, holds and has dropped.
type Stats struct {
	// SentSpans and SentRequests count what the collector accepted.
	SentSpans, SentRequests uint64
	// SentBytes is the size of these requests after compression, without headers.
	SentBytes uint64
	// QueuedSpans and QueuedBytes are what the client holds, before compression.
	QueuedSpans, QueuedBytes int
	// Dropped counts accepted spans that were lost, by reason: "rejected" by the
	// collector, "unreachable" if they could not be delivered within
	// [Options.MaxElapsed], and "shutdown" if they were left at the end. Spans that
	// Collect refuses are counted in [dendro.Stats.Dropped].
	Dropped map[string]uint64
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
	return s
}
