package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// maxEventBytes bounds one event of a tail.
const maxEventBytes = 64 << 20

// runTail prints the traces that match as they arrive, until ctx is done.
func runTail(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("tail", "QUERY", `'{ status = error }'`, stderr)
	c.format()
	query, code := c.parse(args)
	if code >= 0 {
		return code
	}
	defer c.close()
	body, err := c.open(ctx, "/api/dendro/tail", url.Values{"q": {query}, "spss": {"1"}}, "text/event-stream")
	if err != nil {
		return c.fail(err)
	}
	defer body.Close()
	const columns = "%-23s  %9s  %5v  %6v  %-32s  %s\n"
	if c.output == "table" {
		fmt.Fprintf(stdout, columns, "START", "DURATION", "SPANS", "ERRORS", "TRACE", "ROOT")
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEventBytes)
	for name := ""; lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case field == "event":
			name = value
		case field != "data":
		case name == "message":
			var text string
			if json.Unmarshal([]byte(value), &text) == nil {
				fmt.Fprintf(stderr, "%s: %s\n", c.flags.Name(), printable(text))
			}
		case c.output == "json":
			fmt.Fprintln(stdout, value)
		default:
			var t foundTrace
			if err := json.Unmarshal([]byte(value), &t); err != nil {
				return c.fail(fmt.Errorf("%s does not answer like a page of dendro: %w", c.addr, err))
			}
			fmt.Fprintf(stdout, columns, t.start(), rounded(t.DurationNanos), t.SpanCount, t.ErrorCount, t.TraceID,
				printable(t.RootServiceName+" "+t.RootTraceName))
		}
	}
	switch err := lines.Err(); {
	case ctx.Err() != nil: // interrupted
		return exitOK
	case err != nil:
		return c.fail(err)
	}
	return c.fail(errors.New("the page has closed the connection"))
}
