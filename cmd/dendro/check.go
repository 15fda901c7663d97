package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/dendrotrace/dendro/collector/pebblestore"
)

// runCheck reads everything in a directory and names what is damaged.
func runCheck(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := newFlags("check", "DIR", "./traces", stderr)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() != 1:
		return usageError(flags, "want one directory")
	}
	var read atomic.Pointer[pebblestore.Checked]
	read.Store(new(pebblestore.Checked))
	stop := progress(stderr, func() string { return fmt.Sprintf("%d runs, %d spans read", read.Load().Runs, read.Load().Spans) })
	damaged := 0
	c, err := pebblestore.Check(ctx, flags.Arg(0), func(d pebblestore.Damage) {
		damaged++
		fmt.Fprintf(stdout, "damaged: %s, number %d, part %d: %s\n", d.What, d.Run, d.Chunk, printable(d.Err.Error()))
	}, func(c pebblestore.Checked) { read.Store(&c) })
	stop()
	if err != nil {
		return failed(flags, err)
	}
	fmt.Fprintf(stdout, "read %d spans in %d chunks and %d runs; %d things are damaged, %d spans are lost\n", c.Spans, c.Chunks, c.Runs, damaged, c.Lost)
	if damaged > 0 {
		return exitError
	}
	return exitOK
}
