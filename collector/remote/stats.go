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
	// LastError is what was wrong with the last request, nil if nothing was.
	LastError error
}

// Stats returns the counts of this moment.
func (c *Client) Stats() Stats {
	c.sender.mu.Lock()
	s := c.sender.stats
	c.sender.mu.Unlock()
	s.QueuedSpans, s.QueuedBytes = c.queue.size()
	return s
}

// DroppedSpans implements [dendro.StatsReporter]: spans lost after Collect had
// taken them, by reason. "rejected" are those that the collector does not want,
// "unreachable" those it could not be given within [Options.MaxElapsed],
// "shutdown" those left at the end. What Collect refuses is in
// [dendro.Stats.Dropped] by itself. The caller owns the map.
func (c *Client) DroppedSpans() map[string]uint64 {
	c.sender.mu.Lock()
	defer c.sender.mu.Unlock()
	return maps.Clone(c.sender.dropped)
}
