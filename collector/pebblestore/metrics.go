package pebblestore

import (
	"sync"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// Metrics counts what a [Store] does in the background, since it was opened.
type Metrics struct {
	// Commits are the writes of received spans, each synced if [Options.Sync] is [SyncAlways].
	// CommitBytes is their size.
	Commits     collector.Histogram
	CommitBytes uint64
	// Runs are the writes of runs.
	Runs collector.Histogram
	// Damaged is the number of places that could not be read, up to 1000: chunks and other parts
	// of the database.
	Damaged uint64
	// Heads is the number of bytes of spans that are in no run yet, in memory.
	Heads int64
	// Index is about the number of bytes in memory that say where spans are in runs. It grows with the store.
	Index int64
	// DiskFree is the number of bytes that are free on the disk. DiskFull says whether spans
	// are refused because that is too little.
	DiskFree int64
	DiskFull bool
	// Oldest is when the oldest run was written, or zero.
	Oldest time.Time
}

// metrics collects what Metrics returns.
type metrics struct {
	mu            sync.Mutex
	commits, runs collector.Histogram
	bytes         uint64
}

func (m *metrics) commit(took time.Duration, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits.Add(took, 1)
	m.bytes += uint64(bytes)
}

func (m *metrics) run(took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.runs.Add(took, 1)
}

// Metrics returns the metrics of s.
func (s *Store) Metrics() Metrics {
	out := Metrics{Damaged: s.damaged.count(), DiskFree: s.disk.free.Load(), DiskFull: s.disk.full.Load()}
	s.metrics.mu.Lock()
	out.Commits, out.Runs, out.CommitBytes = s.metrics.commits.Clone(), s.metrics.runs.Clone(), s.metrics.bytes
	s.metrics.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range []*head{s.head, s.sealed} {
		if h != nil {
			out.Heads += int64(h.bytes)
		}
	}
	for _, r := range s.runs {
		out.Index += r.indexBytes()
	}
	out.Index += int64(len(s.split.parts)) * splitBytes
	if len(s.runs) > 0 {
		out.Oldest = time.Unix(0, s.runs[0].until)
	}
	return out
}
