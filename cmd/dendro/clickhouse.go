package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro/collector/clickhousestore"
)

// clickHouseOptions are the flags for a store in ClickHouse.
type clickHouseOptions struct {
	dsn          string // empty for another store
	passwordFile string
	tables       tableOptions
}

// flags adds the flags.
func (o *clickHouseOptions) flags(flags *flag.FlagSet) {
	flags.StringVar(&o.dsn, "clickhouse", "", "`URL` of the database that keeps the spans, such as clickhouse://user@host:9000/otel or http://user@host:8123/otel; \"\" keeps them here. Others on this machine see a password in it: set the variable or -clickhouse-password-file instead")
	flags.StringVar(&o.passwordFile, "clickhouse-password-file", "", "`file` with the password of the user in -clickhouse")
	o.tables.flags(flags, "clickhouse-")
}

// check returns an error if options do not fit together.
func (o *clickHouseOptions) check() error {
	if o.dsn == "" && (o.passwordFile != "" || o.tables != tableOptions{kind: tablesDendro}) {
		return errors.New("-clickhouse-password-file, -clickhouse-tables, -clickhouse-cluster and -retention need -clickhouse")
	}
	return o.tables.check()
}

// place returns the DSN without the user, the password and parameters.
func (o *clickHouseOptions) place() string {
	place, _, _ := strings.Cut(o.dsn, "?")
	scheme, rest, _ := strings.Cut(place, "://")
	return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
}

const (
	// queueShare determines the queue: it is one in queueShare bytes of what a store in memory would have. The
	// spans in it are there as they arrived, as rows and as columns, of which only the rows are counted.
	queueShare = 6
	// openWait is how long the program waits at its start for ClickHouse to answer.
	openWait = time.Minute
	// maxOpenRetry bounds the time between two tries.
	maxOpenRetry = 10 * time.Second
)

// openClickHouse opens a store whose queue takes some bytes.
func openClickHouse(ctx context.Context, o clickHouseOptions, limit, queue int64, log *slog.Logger) (*store, error) {
	options := o.tables.options()
	options.MaxQueueBytes, options.Logger = queue, log
	if o.passwordFile != "" {
		warnIfExposed(log, o.passwordFile)
		password, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return nil, err
		}
		if options.Password = string(bytes.TrimRight(password, "\r\n")); options.Password == "" {
			return nil, fmt.Errorf("%s has no password", o.passwordFile)
		}
	}
	s, err := o.connect(ctx, options, log)
	if err != nil {
		return nil, err
	}
	debug.SetMemoryLimit(limit)
	about := "ClickHouse       " + o.place()
	if o.tables.retention > 0 {
		about += fmt.Sprintf(", new tables for %v", o.tables.retention)
	}
	return &store{
		Store:   s,
		about:   about,
		metrics: clickHouseMetrics{s},
		ping:    s.Ping,
		close: func() error {
			defer debug.SetMemoryLimit(givenLimit)
			return s.Close()
		},
	}, nil
}

// connect opens the store. While ClickHouse does not answer, it tries again until openWait has passed or
// ctx is done.
func (o *clickHouseOptions) connect(ctx context.Context, options clickhousestore.Options, log *slog.Logger) (*clickhousestore.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	for wait := time.Second; ; wait = min(2*wait, maxOpenRetry) {
		s, err := clickhousestore.Open(ctx, o.dsn, options)
		if !away(err) || ctx.Err() != nil {
			return s, err
		}
		log.Warn("ClickHouse does not answer", "clickhouse", o.place(), "again_in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// away reports whether an error says that ClickHouse does not answer, which may pass.
func away(err error) bool {
	return errors.As(err, new(*net.OpError)) || errors.Is(err, io.EOF) || errors.Is(err, context.DeadlineExceeded)
}

// clickHouseMetrics are those of a store in ClickHouse.
type clickHouseMetrics struct{ *clickhousestore.Store }

var (
	clickHouseInsert   = prometheus.NewDesc("dendro_store_insert_seconds", "Time of inserts into ClickHouse that succeeded.", nil, nil)
	clickHouseSpans    = counter("dendro_store_inserted_spans_total", "Spans that were inserted into ClickHouse by this process.")
	clickHouseFailures = counter("dendro_store_insert_failures_total", "Inserts into ClickHouse that failed, most of which are tried again.")
	clickHouseQueue    = gauge("dendro_store_queue_bytes", "Bytes of spans in memory that wait for ClickHouse or are being inserted.")
	clickHouseMaxQueue = gauge("dendro_store_queue_limit_bytes", "Bound of dendro_store_queue_bytes, above which senders wait.")
)

// Describe implements [prometheus.Collector].
func (m clickHouseMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- clickHouseInsert
	for _, d := range []description{clickHouseSpans, clickHouseFailures, clickHouseQueue, clickHouseMaxQueue} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m clickHouseMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Metrics()
	ch <- histogram(clickHouseInsert, &s.Inserts)
	clickHouseSpans.send(ch, float64(s.Spans))
	clickHouseFailures.send(ch, float64(s.Failures))
	clickHouseQueue.send(ch, float64(s.Queue))
	clickHouseMaxQueue.send(ch, float64(s.MaxQueue))
}
