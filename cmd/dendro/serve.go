package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/server"
)

// serve receives and shows spans until ctx is done or a server fails.
func serve(ctx context.Context, o serveOptions, stdout io.Writer, log *slog.Logger) (err error) {
	a, err := openAccess(o, log)
	if err != nil {
		return err
	}
	hub, err := openHub(o, a)
	if err != nil {
		return err
	}
	otlp, otlpErr := listen("otlp", o.otlp, a, o.maxConnections)
	grpc, grpcErr := listen("otlp-grpc", o.otlpGRPC, a, o.maxConnections)
	web, webErr := listen("web", o.web, a, o.maxConnections)
	err = errors.Join(otlpErr, grpcErr, webErr)
	var kept *store
	if err == nil {
		kept, err = openStore(ctx, o, log)
	}
	if err != nil {
		otlp.close()
		grpc.close()
		web.close()
		if ctx.Err() != nil { // while it waited for the store
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, kept.close()) }()

	o.receive.Keep = hub
	o.receive.Operations, _ = kept.Store.(collector.OperationWriter)
	receiver := server.New(kept, o.receive)
	h := &health{store: kept}
	page := newServer(newPage(kept.Store, hub, a, h, newRegistry(receiver, kept, hub, a, otlp, grpc, web)), time.Minute)
	reading, endReading := context.WithCancel(context.WithoutCancel(ctx))
	page.BaseContext = func(net.Listener) context.Context { return reading }
	page.RegisterOnShutdown(endReading) // ends queries and live tails; spans are received to the end
	defer endReading()

	failed := make(chan error, 3)
	for _, e := range []*endpoint{otlp, grpc} {
		s := newServer(a.protect(receiver), o.receive.ReadTimeout)
		s.RegisterOnShutdown(hub.Close)
		e.serve(s, a, log, failed)
	}
	web.serve(page, a, log, failed)
	a.reloadOnHangUp(reading, log)
	greet(stdout, kept.about, a, otlp, grpc, web)
	log.Info("serving", "otlp", o.otlp, "otlp-grpc", o.otlpGRPC, "web", o.web)

	select {
	case <-ctx.Done():
		log.Info("shutting down", "timeout", o.shutdownTimeout)
	case err = <-failed:
	}
	h.draining.Store(true)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.shutdownTimeout)
	defer cancel()
	var receivers sync.WaitGroup
	receivers.Go(func() { otlp.shutdown(ending, log) })
	receivers.Go(func() { grpc.shutdown(ending, log) })
	receivers.Wait()
	web.shutdown(ending, log) // last: /readyz says that the program is ending
	counting, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	stats, statsErr := kept.Stats(counting)
	if statsErr == nil {
		report(stdout, stats)
	}
	return err
}
