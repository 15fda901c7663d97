package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // the program failed
	exitUsage = 2 // the arguments are not valid
)

// run runs the program and returns its exit code. When ctx is done, the program shuts
// down.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	a, err := start(ctx, o)
	if err != nil {
		complain(stderr, err)
		return exitError
	}
	greet(stdout, a, o)

	if o.load > 0 {
		makeLoad(ctx, a, o.load, stdout)
	}
	code := exitOK
	select {
	case <-ctx.Done():
	case err := <-a.failed:
		complain(stderr, err)
		code = exitError
	}
	if err := a.stop(context.WithoutCancel(ctx)); err != nil {
		complain(stderr, err)
		code = exitError
	}
	report(stdout, a)
	return code
}

// complain prints each error that [errors.Join] joined on a line of its own.
func complain(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "chi-app: %s\n", line)
	}
}
