package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dendrotrace/dendro/diagnostics"
)

// runOpen prints what a program is doing now: the requests that are open, and where those hang that take longer than
// usual.
func runOpen(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("open", "", "-addr http://localhost:8080/debug/traces -watch 2s", stderr)
	watch := c.flags.Duration("watch", 0, "print again and again, after that `time`, until interrupted")
	trace := c.flags.String("trace", "", "only the requests of the trace with that `ID`")
	c.format()
	switch err := c.flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case c.flags.NArg() > 0:
		return usageError(c.flags, "unexpected argument %q: -addr has the URL of the page", c.flags.Arg(0))
	case *watch < 0:
		return usageError(c.flags, "-watch %v: want a time that is not negative", *watch)
	case c.output != "table" && c.output != "json":
		return usageError(c.flags, "-o %s: want table or json", c.output)
	}
	if code := c.connect(); code >= 0 {
		return code
	}
	defer c.close()
	v := url.Values{}
	if *trace != "" {
		v.Set("trace", *trace)
	}
	for {
		switch err := c.printOpen(ctx, v, stdout, stderr); {
		case ctx.Err() != nil: // interrupted
			return exitOK
		case err != nil:
			return c.fail(err)
		case *watch == 0:
			return exitOK
		}
		select {
		case <-ctx.Done():
			return exitOK
		case <-time.After(*watch):
		}
		if c.output == "table" {
			fmt.Fprintln(stdout)
		}
	}
}

// printOpen prints what is open now.
func (c *client) printOpen(ctx context.Context, v url.Values, stdout, stderr io.Writer) error {
	body, err := c.get(ctx, "/api/dendro/open", v, "application/json")
	if err != nil {
		return err
	}
	var now diagnostics.OpenRequests
	if done, err := c.answer(body, stdout, &now); done || err != nil {
		return err
	}
	if now.Problem != "" {
		fmt.Fprintf(stderr, "%s: %s\n", c.flags.Name(), printable(now.Problem))
	}
	if now.Unknown > 0 {
		fmt.Fprintf(stderr, "%s: %d open spans are not known, because there are too many\n", c.flags.Name(), now.Unknown)
	}
	more := ""
	if now.More > 0 {
		more = fmt.Sprintf(", the first %d", len(now.Requests))
	}
	fmt.Fprintf(stdout, "%s  %d open requests%s\n", clockTime(now.Time), len(now.Requests)+now.More, more)
	for i := range now.Requests {
		if err := printRequest(stdout, &now.Requests[i]); err != nil {
			return err
		}
	}
	return nil
}

// printRequest prints the spans of a request and its stacks.
func printRequest(out io.Writer, r *diagnostics.OpenRequest) error {
	fmt.Fprintf(out, "\n%s  %s\n", r.TraceID, printable(r.Service))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range r.Spans {
		s := &r.Spans[i]
		p99 := ""
		switch {
		case s.Slow():
			p99 = fmt.Sprintf("longer than p99, %v", rounded(int64(s.P99)))
		case s.P99 > 0:
			p99 = fmt.Sprintf("p99 %v", rounded(int64(s.P99)))
		}
		fmt.Fprintf(w, "  %s%s\t%v\t%s\t%s\n", strings.Repeat("  ", s.Depth), printable(s.Name), rounded(int64(s.Age)), p99, printable(s.About))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.More > 0 {
		fmt.Fprintf(out, "  and %d more spans\n", r.More)
	}
	for i := range r.Stacks {
		s := &r.Stacks[i]
		fmt.Fprintf(out, "  goroutines: %d\n", s.Goroutines)
		for _, f := range s.Program() {
			fmt.Fprintf(out, "    %s\n        %s:%d\n", printable(f.Function), printable(f.File), f.Line)
		}
		if n := len(s.Callers()); n > 0 {
			fmt.Fprintf(out, "    … %d calls around it\n", n)
		}
	}
	return nil
}
