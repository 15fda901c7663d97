package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1 // could not do what it was asked
	exitUsage = 2 // does not understand what it was asked
)

// run is the program without its surroundings. It returns the exit code.
// Ending ctx ends the program in good order.
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

// complain writes a line for each of what [errors.Join] has joined.
func complain(stderr io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "chi-app: %s\n", line)
	}
}
