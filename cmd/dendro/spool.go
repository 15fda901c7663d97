package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/spooled"
)

// spoolOptions are the flags for a spool in front of a store on another machine.
type spoolOptions struct {
	dir  string // empty for none
	size byteSize
}

const defaultSpoolSize = 1 << 30

func (o *spoolOptions) flags(flags *flag.FlagSet) {
	o.size = defaultSpoolSize
	flags.StringVar(&o.dir, "spool", "", "`directory` for spans that ClickHouse has not taken within a second: they are acknowledged when they are there, and reach ClickHouse when it is back; \"\" for none, so that senders have to keep them")
	flags.Var(&o.size, "spool-size", "largest `size` of -spool; when it is full, requests are refused")
}

// check returns an error if the flags do not fit together. remote says that the store is on another machine.
func (o *spoolOptions) check(remote bool) error {
	switch {
	case o.dir != "" && !remote:
		return errors.New("-spool needs -clickhouse: other stores are in this process")
	case o.dir == "" && o.size != defaultSpoolSize:
		return errors.New("-spool-size needs -spool")
	}
	return nil
}

// openSpool opens a spool in front of s.
func (s *store) openSpool(o spoolOptions, log *slog.Logger) error {
	w, err := spooled.Open(o.dir, s.Store, spooled.Options{MaxBytes: int64(o.size), Logger: log})
	if err != nil {
		return err
	}
	s.spool = w
	s.about += fmt.Sprintf("\nspool            %s, at most %s", o.dir, &o.size)
	closeStore := s.close
	s.close = func() error {
		w.Close()
		if n := w.Metrics().Spans; n > 0 {
			log.Info("spans are left in the spool", "spool", o.dir, "spans", n)
		}
		return closeStore()
	}
	return nil
}

// Write implements [collector.Writer].
func (s *store) Write(ctx context.Context, batches []*dendro.Batch) error {
	if s.spool != nil {
		return s.spool.Write(ctx, batches)
	}
	return s.Store.Write(ctx, batches)
}

// spoolMetrics are those of a spool.
type spoolMetrics struct{ *spooled.Writer }

var (
	spoolSpans     = gauge("dendro_spool_spans", "Spans in the spool, which the store does not have yet.")
	spoolBytes     = gauge("dendro_spool_bytes", "Bytes that the spool takes on disk.")
	spoolLimit     = gauge("dendro_spool_limit_bytes", "Bound of dendro_spool_bytes, at which requests are refused.")
	spoolAway      = gauge("dendro_spool_store_away", "1 while the store does not take spans, and they go to the spool.")
	spoolWritten   = counter("dendro_spool_written_spans_total", "Spans that were written to the spool.")
	spoolDelivered = counter("dendro_spool_delivered_spans_total", "Spans of the spool that the store has taken.")
	spoolDropped   = counter("dendro_spool_dropped_spans_total", "Spans of the spool that are lost.", "reason")
	spoolErrors    = counter("dendro_spool_errors_total", "Operations on the spool that failed, also because it was full.")
)

// Describe implements [prometheus.Collector].
func (m spoolMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []description{spoolSpans, spoolBytes, spoolLimit, spoolAway, spoolWritten, spoolDelivered, spoolDropped, spoolErrors} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m spoolMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Metrics()
	spoolSpans.send(ch, float64(s.Spans))
	spoolBytes.send(ch, float64(s.Bytes))
	spoolLimit.send(ch, float64(s.MaxBytes))
	away := 0.0
	if s.Away {
		away = 1
	}
	spoolAway.send(ch, away)
	spoolWritten.send(ch, float64(s.Written))
	spoolDelivered.send(ch, float64(s.Delivered))
	for reason, n := range s.Dropped {
		spoolDropped.send(ch, float64(n), reason)
	}
	spoolErrors.send(ch, float64(s.Errors))
}
