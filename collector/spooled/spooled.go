// Package spooled keeps spans on disk while a store on another machine cannot take them, and hands them over
// later:
//
//	w, err := spooled.Open("/var/lib/dendro/spool", store, spooled.Options{})
//	http.ListenAndServe("127.0.0.1:4318", server.New(w, server.Options{}))
package spooled

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// DropFull is the reason of the [dendro.DropError] while the spool is full.
const DropFull = "spool_full"

const (
	defaultMaxBytes = 1 << 30
	// patience is how long Write waits for the store.
	patience = time.Second
	// deliverTimeout is how long the store may take for a request from the spool, for which nobody waits.
	deliverTimeout = time.Minute
	// While the store takes requests, up to maxRequests are delivered at a time, or as many as have
	// maxRoundBytes before compression if these are fewer.
	maxRequests   = 256
	maxRoundBytes = 16 << 20
	// maxRequestBytes bounds a request before compression.
	maxRequestBytes = 1 << 30
	// refusedFor is how long Ready reports false after a request was refused.
	refusedFor = 10 * time.Second
)

// Options configures a [Writer]. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the spool on disk, in bytes. Each request takes a multiple of 4 KiB. If
	// it is zero or less, the bound is 1 GiB.
	MaxBytes int64
	// Logger says when the store goes away and comes back, and what is wrong with the spool. If it is nil, that
	// is [slog.Default].
	Logger *slog.Logger
}

// Writer is a [collector.Writer] that hands spans to the Writer of a store, and to a spool while that does
// not take them. Its methods are safe for concurrent use.
type Writer struct {
	store collector.Writer
	spool *spool.Spool
	o     Options

	away    atomic.Bool        // the store has not taken the last request
	wake    chan struct{}      // holds a token when there may be something in the spool
	stop    context.CancelFunc // ends drain
	stopped chan struct{}      // closed when drain has returned

	mu      sync.Mutex // guards what follows
	metrics Metrics    // what is counted here
	refused time.Time  // the last time that the spool did not take a request
}

var _ collector.Writer = (*Writer)(nil)

// Open returns a Writer that hands spans to store. It opens the spool in a directory, which it creates if
// necessary, and delivers what is left there of an earlier process. Open returns an error if another process
// uses the directory. The caller must close the Writer before the store.
func Open(dir string, store collector.Writer, o Options) (*Writer, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	o.Logger = cmp.Or(o.Logger, slog.Default())
	w := &Writer{store: store, o: o, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	var err error
	w.spool, err = spool.Open(dir, spool.Options{MaxBytes: o.MaxBytes, Lost: w.lost, Otherwise: "requests are refused", Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("spooled: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go w.drain(ctx)
	return w, nil
}

// Write implements [collector.Writer]. It returns nil when the store has the spans, or when they are on disk and synced because
// the store has returned an error other than a [*collector.RejectedError], or nothing within a second. While the
// store is known to be away, Write does not try it. If the spool is full, Write returns a [*dendro.DropError] with
// the reason [DropFull].
//
// A store that takes a request after that second gets it twice, and is expected to recognize its spans.
func (w *Writer) Write(ctx context.Context, batches []*dendro.Batch) error {
	// While the spool is empty, because it cannot be written, nothing else finds out that the store is back.
	if !w.away.Load() || w.spool.Size().Spans == 0 {
		trying, cancel := context.WithTimeout(ctx, patience)
		err := w.store.Write(trying, batches)
		cancel()
		if err == nil || errors.As(err, new(*collector.RejectedError)) {
			w.reached()
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		if w.away.CompareAndSwap(false, true) {
			w.o.Logger.Warn("dendro: the store does not take spans, which are kept on disk", "spool", w.spool.Dir(), "error", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.keep(batches)
}

// keep writes a request to the spool.
func (w *Writer) keep(batches []*dendro.Batch) error {
	spans := 0
	for _, b := range batches {
		spans += len(b.Spans)
	}
	if spans == 0 {
		return nil
	}
	body := spool.Body{Parts: [][]byte{otlp.AppendTraces(nil, batches...)}}
	if n := body.Size(); n > maxRequestBytes {
		return fmt.Errorf("spooled: a request of %d bytes is too large for the spool", n)
	}
	err := w.spool.Append(body.Compress(), spans)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.refused = time.Now()
		if errors.Is(err, spool.ErrFull) {
			return &dendro.DropError{Reason: DropFull, Err: err}
		}
		return fmt.Errorf("spooled: %w", err)
	}
	w.metrics.Written += uint64(spans)
	poke(w.wake)
	return nil
}

// drain delivers what is in the spool until ctx is done. While requests fail, it tries one at a time, at growing
// intervals.
func (w *Writer) drain(ctx context.Context) {
	defer close(w.stopped)
	requests, failures := 1, 0
	for ctx.Err() == nil {
		switch delivered, failed := w.round(ctx, requests); {
		case failed:
			requests = 1
			select {
			case <-time.After(spool.Backoff(failures)):
			case <-ctx.Done():
			}
			failures++
		case delivered:
			requests, failures = min(2*requests, maxRequests), 0
		default: // there was nothing
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

// round delivers the oldest requests of the spool, at most n. It reports whether there were any, and whether one has
// failed.
func (w *Writer) round(ctx context.Context, n int) (delivered, failed bool) {
	var delivering sync.WaitGroup
	var failures atomic.Int64
	for total := 0; n > 0 && total < maxRoundBytes; n-- {
		r := w.spool.Take()
		if r == nil {
			break
		}
		delivered = true
		batches, size, err := w.load(r)
		if err != nil {
			failures.Add(1)
			break
		}
		total += size
		delivering.Go(func() {
			if !w.deliver(ctx, r, batches) {
				failures.Add(1)
			}
		})
	}
	delivering.Wait()
	return delivered, failures.Load() > 0
}

// load returns the spans of a record and their size, encoded. After an error, the record is not taken any longer.
func (w *Writer) load(r *spool.Record) (batches []*dendro.Batch, size int, err error) {
	body, err := w.spool.Load(r)
	if err != nil {
		return nil, 0, err
	}
	batches, size, err = decode(body)
	if err != nil {
		w.spool.Damaged(r, err)
	}
	return batches, size, err
}

// decode returns the spans of a request and its size before compression.
func decode(b spool.Body) (batches []*dendro.Batch, size int, err error) {
	data := bytes.Join(b.Parts, nil)
	if b.Gzip {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, 0, err
		}
		if data, err = io.ReadAll(io.LimitReader(r, maxRequestBytes+1)); err != nil {
			return nil, 0, err
		}
		if len(data) > maxRequestBytes {
			return nil, 0, fmt.Errorf("more than %d bytes", maxRequestBytes)
		}
	}
	batches, err = otlp.DecodeTraces(data)
	return batches, len(data), err
}

// deliver hands a record to the store, and reports whether that has taken it.
func (w *Writer) deliver(ctx context.Context, r *spool.Record, batches []*dendro.Batch) bool {
	writing, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	err := w.store.Write(writing, batches)
	rejected := (*collector.RejectedError)(nil)
	switch {
	case errors.As(err, &rejected):
		w.lost("rejected", rejected.Spans)
	case err != nil && ctx.Err() != nil:
		w.spool.Release(r)
		return false
	case err != nil: // others go first, in case the store never takes this one
		w.spool.Postpone(r)
		return false
	}
	w.reached()
	w.spool.Done(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.metrics.Delivered += uint64(r.Spans)
	if rejected != nil {
		w.metrics.Delivered -= uint64(rejected.Spans)
	}
	return true
}

// reached records that the store has taken spans.
func (w *Writer) reached() {
	if w.away.CompareAndSwap(true, false) {
		w.o.Logger.Info("dendro: the store takes spans again", "spool", w.spool.Dir())
	}
}

func (w *Writer) lost(reason string, spans int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.metrics.Dropped == nil {
		w.metrics.Dropped = map[string]uint64{}
	}
	w.metrics.Dropped[reason] += uint64(spans)
}

// Metrics counts what a [Writer] has kept on disk since it was opened.
type Metrics struct {
	// Spans and Bytes are in the spool now, including what an earlier process has left. MaxBytes is the bound.
	Spans           int
	Bytes, MaxBytes int64
	// Written counts spans that were written to the spool, and Delivered those from there that the store has
	// taken.
	Written, Delivered uint64
	// Dropped counts spans of the spool that are lost, by reason: "rejected" by the store, or "spool_damaged" if the
	// spool does not return them as they were written.
	Dropped map[string]uint64
	// Errors counts operations on the spool that failed, also because it was full.
	Errors uint64
	// Away says that the store has not taken the last request that it was given.
	Away bool
}

// Metrics returns the current counts. The caller owns the map.
func (w *Writer) Metrics() Metrics {
	w.mu.Lock()
	m := w.metrics
	m.Dropped = maps.Clone(m.Dropped)
	w.mu.Unlock()
	held := w.spool.Size()
	m.Spans, m.Bytes, m.MaxBytes, m.Errors, m.Away = held.Spans, held.Bytes, w.o.MaxBytes, held.Errors, w.away.Load()
	return m
}

// Ready reports whether the spool has refused no request in the last ten seconds.
func (w *Writer) Ready() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused.IsZero() || time.Since(w.refused) > refusedFor
}

// Close leaves what is in the spool to the next process, and unlocks the directory. It must be called after
// the last Write has returned, and before the store is closed.
func (w *Writer) Close() {
	w.stop()
	<-w.stopped
	w.spool.Close()
}

// poke puts a token into c, which has room for one, unless it has one already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
