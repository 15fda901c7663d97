package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/pebblestore"
	"github.com/dendrotrace/dendro/collector/spooled"
)

// store is where spans are kept.
type store struct {
	collector.Store
	about   string                      // a line of the greeting
	metrics prometheus.Collector        // what only this kind of store has, or nil
	ping    func(context.Context) error // asks a store on another machine whether it answers, or nil
	spool   *spooled.Writer             // in front of a store on another machine, or nil
	close   func() error
}

// ready returns an error if spans cannot be received and read now. With a spool, it is enough that they can be
// received.
func (s *store) ready(ctx context.Context) error {
	if s.spool != nil && s.spool.Ready() {
		return nil
	}
	if s.ping != nil {
		return s.ping(ctx)
	}
	_, err := s.Stats(ctx)
	return err
}

// openStore opens the store that o describes, and sets the memory limit of the process until it is
// closed.
func openStore(ctx context.Context, o serveOptions, log *slog.Logger) (*store, error) {
	limit, share, err := divide(o.memory, givenLimit)
	if err != nil {
		return nil, err
	}
	switch {
	case o.data != "":
		return openDisk(o, limit, log)
	case o.clickHouse.dsn != "":
		s, err := openClickHouse(ctx, o.clickHouse, limit, share/queueShare, log)
		if err != nil || o.spool.dir == "" {
			return s, err
		}
		if err := s.openSpool(o.spool, log); err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	}
	debug.SetMemoryLimit(limit)
	return &store{
		Store: memory.New(memory.Options{MaxBytes: share}),
		about: fmt.Sprintf("memory           %s, of which %d MiB for the store", &o.memory, share>>20),
		close: func() error {
			debug.SetMemoryLimit(givenLimit)
			return nil
		},
	}, nil
}

const (
	// leastHeap is the smallest limit of the heap with -data, including databaseMemory.
	leastHeap = 192 << 20
	// indexShare determines the default of -memory with -data: the index of a full store takes about one in
	// indexShare bytes of -data-size.
	indexShare = 32
	// limitInterval is the time between looks at the size of the index.
	limitInterval = 10 * time.Second
)

// heapLimit returns the limit of the heap for a store with an index of some bytes: what it needs, and at
// most limit.
func heapLimit(limit, index int64) int64 {
	return max(leastHeap, min(limit, leastHeap+2*index)) - databaseMemory
}

func openDisk(o serveOptions, limit int64, log *slog.Logger) (*store, error) {
	s, err := pebblestore.Open(o.data, pebblestore.Options{MaxBytes: int64(o.dataSize), MaxAge: o.dataAge, KeepErrors: o.keepErrors, Sync: pebblestore.Sync(o.sync), Logger: log})
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var limiting sync.WaitGroup
	limiting.Go(func() {
		tick := time.NewTicker(limitInterval)
		defer tick.Stop()
		for {
			debug.SetMemoryLimit(heapLimit(limit, s.Metrics().Index))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	about := fmt.Sprintf("data             %s, at most %s", o.data, &o.dataSize)
	if o.dataAge > 0 {
		about += fmt.Sprintf(", for %v", o.dataAge)
	}
	if o.keepErrors > 0 {
		about += fmt.Sprintf(", errors and the slowest for %v", o.keepErrors)
	}
	return &store{
		Store:   s,
		about:   about,
		metrics: diskMetrics{s},
		close: func() error {
			close(stop)
			limiting.Wait()
			debug.SetMemoryLimit(givenLimit)
			return s.Close()
		},
	}, nil
}

// syncFlag is the flag -sync.
type syncFlag pebblestore.Sync

var syncNames = map[pebblestore.Sync]string{pebblestore.SyncAlways: "always", pebblestore.SyncInterval: "interval", pebblestore.SyncNone: "none"}

// String returns the name of f.
func (f *syncFlag) String() string { return syncNames[pebblestore.Sync(*f)] }

// Set implements [flag.Value].
func (f *syncFlag) Set(text string) error {
	for s, name := range syncNames {
		if name == text {
			*f = syncFlag(s)
			return nil
		}
	}
	return fmt.Errorf("want always, interval or none")
}

// diskMetrics are those of a store on disk.
type diskMetrics struct{ *pebblestore.Store }

var (
	diskCommit  = prometheus.NewDesc("dendro_store_commit_seconds", "Time to write and sync what was received.", nil, nil)
	diskRun     = prometheus.NewDesc("dendro_store_run_seconds", "Time to write a run of whole traces.", nil, nil)
	diskWritten = counter("dendro_store_commit_bytes_total", "Bytes that were written as they were received.")
	diskDamaged = counter("dendro_store_damaged_total", "Parts of the store that could not be read.")
	diskHead    = gauge("dendro_store_head_bytes", "Bytes of spans in memory that are in no run yet.")
	diskIndex   = gauge("dendro_store_index_bytes", "Bytes in memory that say where spans are.")
	diskFree    = gauge("dendro_store_disk_free_bytes", "Bytes that are free on the disk.")
	diskFull    = gauge("dendro_store_disk_full", "1 while spans are refused because the disk is full.")
	diskOldest  = gauge("dendro_store_oldest_run_timestamp_seconds", "When the oldest run was written, in Unix time.")
)

// Describe implements [prometheus.Collector].
func (m diskMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- diskCommit
	ch <- diskRun
	for _, d := range []description{diskWritten, diskDamaged, diskHead, diskIndex, diskFree, diskFull, diskOldest} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m diskMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Metrics()
	ch <- histogram(diskCommit, &s.Commits)
	ch <- histogram(diskRun, &s.Runs)
	diskWritten.send(ch, float64(s.CommitBytes))
	diskDamaged.send(ch, float64(s.Damaged))
	diskHead.send(ch, float64(s.Heads))
	diskIndex.send(ch, float64(s.Index))
	diskFree.send(ch, float64(s.DiskFree))
	full := 0.0
	if s.DiskFull {
		full = 1
	}
	diskFull.send(ch, full)
	if !s.Oldest.IsZero() {
		diskOldest.send(ch, float64(s.Oldest.Unix()))
	}
}

// histogram returns a metric with a bucket for each power of two from 64 µs to a minute.
func histogram(d *prometheus.Desc, h *collector.Histogram) prometheus.Metric {
	buckets := map[float64]uint64{}
	for bound := 64 * time.Microsecond; bound < time.Minute; bound *= 2 {
		n := 0.0
		for i, count := range h.Buckets() {
			if collector.BucketBound(i) <= bound {
				n += count
			}
		}
		buckets[bound.Seconds()] = uint64(n)
	}
	return prometheus.MustNewConstHistogram(d, uint64(h.Count()), h.Sum().Seconds(), buckets)
}
