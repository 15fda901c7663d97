package remote

import "maps"

// Stats counts what a [Client] did since it was made, and what it holds.
type Stats struct {
	// SentSpans and SentRequests count what the collector took.
	SentSpans, SentRequests uint64
	// SentBytes is the size of these requests after compression, without
	// headers.
	SentBytes uint64
	// QueuedSpans and QueuedBytes are what the client holds, before
	// compression.
	QueuedSpans, QueuedBytes int
	// Dropped counts spans lost after Collect had taken them, by reason:
	// "rejected" are those that the collector does not want, "unreachable"
	// those it could not be given within [Options.MaxElapsed], "shutdown" those
	// left at the end. What Collect refuses is in [dendro.Stats.Dropped].
	Dropped map[string]uint64
	// LastError is what was wrong with the last request, nil if nothing was.
	LastError error
}

// Stats returns the counts of this moment. The caller owns the map.
func (c *Client) Stats() Stats {
	c.sender.mu.Lock()
	s := c.sender.stats
	s.Dropped = maps.Clone(s.Dropped)
	c.sender.mu.Unlock()
	s.QueuedSpans, s.QueuedBytes = c.queue.size()
	return s
}
