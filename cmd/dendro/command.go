package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // the command failed
	exitUsage = 2 // the arguments are not valid
)

const usage = `dendro receives spans and shows them.

Usage:

  dendro serve [flags]           receive spans, keep them, show them on a page
  dendro query [flags] QUERY     find traces with TraceQL
  dendro metrics [flags] QUERY   time series of a TraceQL metrics query
  dendro tail [flags] QUERY      print traces that match as they arrive
  dendro trace [flags] ID        print a trace as a tree
  dendro open [flags]            print what a program is doing now, and where it hangs
  dendro keep [flags] ID…        have processes send traces that they still have
  dendro send [flags] FILE…      send the traces of files to a collector
  dendro export [flags] [FILE]   write the traces of a page to a file
  dendro import [flags] FILE…    write the traces of files into the directory of a store
  dendro check DIR               read all of a store on disk, and name what is damaged
  dendro clickhouse schema       print the statements that make tables in ClickHouse
  dendro load [flags]            send made-up traces to a collector, and look for them
  dendro version                 print the version
  dendro help                    print this

"dendro COMMAND -help" lists the flags of a command.
`

// commands are those that have flags.
var commands = map[string]func(ctx context.Context, args []string, stdout, stderr io.Writer) int{
	"serve":      runServe,
	"query":      runQuery,
	"metrics":    runMetrics,
	"tail":       runTail,
	"trace":      runTrace,
	"open":       runOpen,
	"keep":       runKeep,
	"send":       runSend,
	"export":     runExport,
	"import":     runImport,
	"check":      runCheck,
	"clickhouse": runClickHouse,
	"load":       runLoad,
}

// run runs the program and returns its exit code. When ctx is done, "serve" shuts
// down.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	if run := commands[command]; run != nil {
		return run(ctx, args, stdout, stderr)
	}
	switch command {
	case "version":
		fmt.Fprintf(stdout, "dendro %s, %s, %s/%s\n", dendro.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitOK
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	case "":
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	fmt.Fprintf(stderr, "dendro: unknown command %q\n\n%s", command, usage)
	return exitUsage
}

func runServe(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseServe(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	log := o.logger(stderr)
	if err := serve(ctx, o, stdout, log); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // a line for each joined error
			log.Error(line)
		}
		return exitError
	}
	return exitOK
}
