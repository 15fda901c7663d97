package main

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/memory"
)

// store is where spans are kept.
type store struct {
	collector.Store
	about   string               // a line of the greeting
	metrics prometheus.Collector // what only this kind of store has, or nil
	close   func() error
}

// openStore opens the store that o describes, and sets the memory limit of the process until it is
// closed.
func openStore(o serveOptions) (*store, error) {
	limit, share, err := divide(o.memory, givenLimit)
	if err != nil {
		return nil, err
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
