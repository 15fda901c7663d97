package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/dendrotrace/dendro/collector/pebblestore"
)

// dataFlags are those of commands that open a directory.
type dataFlags struct {
	dir  string
	size byteSize
}

func (d *dataFlags) flags(flags *flag.FlagSet) {
	d.size = defaultDataSize
	flags.StringVar(&d.dir, "data", "", "`directory` of the store; no server may use it meanwhile")
	flags.Var(&d.size, "data-size", "`size` of the store, as for \"dendro serve\": the oldest traces make room")
}

// open opens the store.
func (d *dataFlags) open() (*pebblestore.Store, error) {
	return pebblestore.Open(d.dir, pebblestore.Options{MaxBytes: int64(d.size)})
}

// runImport writes the spans of files into a directory.
func runImport(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var data dataFlags
	flags := newFlags("import", "FILE…", "-data ./traces traces.json.zst", stderr)
	data.flags(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case data.dir == "":
		return usageError(flags, "-data is missing: the directory to write to; \"dendro send\" sends files to a server")
	case flags.NArg() == 0:
		return usageError(flags, "a file is missing; - is standard input")
	case misplaced(flags) != "":
		return usageError(flags, "unexpected argument %q: put flags before the files", misplaced(flags))
	}
	if err := checkFiles(flags.Args()); err != nil { // before a directory is made
		return failed(flags, err)
	}
	s, err := data.open()
	if err != nil {
		return failed(flags, err)
	}
	code := runCopy(ctx, flags, &copied{}, s, stdout, stderr)
	stats, err := s.Stats(context.WithoutCancel(ctx))
	if err = errors.Join(err, s.Close()); err != nil {
		return failed(flags, err)
	}
	if n := stats.Accepted - uint64(stats.Spans); n > 0 {
		return failed(flags, fmt.Errorf("%d spans that were there or came first have made room for others: -data-size %s is too small for all", n, &data.size))
	}
	return code
}
