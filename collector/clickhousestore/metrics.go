package clickhousestore

import (
	"context"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// Metrics counts what a [Store] has written since it was opened.
type Metrics struct {
	// Inserts are the inserts that ClickHouse has acknowledged, with the time that each took, including
	// the look for spans that are there already. Spans is the number of spans that they added.
	Inserts collector.Histogram
	Spans   uint64
	// Failures is the number of inserts that have failed. Most are tried again.
	Failures uint64
	// Queue is the number of bytes of spans that wait or are being written, which MaxQueue bounds.
	Queue, MaxQueue int64
}

// Metrics returns the metrics of s.
func (s *Store) Metrics() Metrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Metrics{
		Inserts: s.stats.inserts.Clone(), Spans: s.stats.spans, Failures: s.stats.failures,
		Queue: s.bytes, MaxQueue: s.o.MaxQueueBytes,
	}
}

// tried counts an insert that began at some time.
func (s *Store) tried(began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stats.failures++
	} else {
		s.stats.inserts.Add(time.Since(began), 1)
	}
}

// Ping returns an error if ClickHouse does not answer.
func (s *Store) Ping(ctx context.Context) error { return queryError(ctx, s.conn.Ping(ctx)) }
