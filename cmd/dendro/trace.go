package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
)

func runTrace(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("trace", "ID", "5b8efff798038103d269b633813fc60c", stderr)
	attributes := c.flags.Bool("attributes", false, "print the attributes of each span")
	id, code := c.parse(args)
	if code >= 0 {
		return code
	}
	defer c.close()
	body, err := c.get(ctx, "/api/traces/"+url.PathEscape(id), nil, "application/protobuf")
	if err != nil {
		return c.fail(err)
	}
	batches, err := otlp.DecodeTraces(body)
	if err != nil {
		return c.fail(fmt.Errorf("%s does not answer like a page of dendro: %w", c.addr, err))
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	printTree(w, batches, *attributes)
	if err := w.Flush(); err != nil {
		return c.fail(err)
	}
	return exitOK
}

// spanOf is a span with its service.
type spanOf struct {
	*dendro.SpanData
	service string
}

// printTree prints each span below its parent. Spans whose parent is missing, and those in a
// cycle of parents, are at the top.
func printTree(w io.Writer, batches []*dendro.Batch, attributes bool) {
	var spans []spanOf
	for _, b := range batches {
		for _, s := range b.Spans {
			spans = append(spans, spanOf{s, b.Resource.Service()})
		}
	}
	slices.SortStableFunc(spans, func(a, b spanOf) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	byID := map[dendro.SpanID]int{}
	for i, s := range spans {
		if _, ok := byID[s.SpanID]; !ok {
			byID[s.SpanID] = i
		}
	}
	children := map[int][]int{}
	var top []int
	for i, s := range spans {
		if parent, ok := byID[s.ParentID]; ok && s.ParentID.IsValid() && parent != i {
			children[parent] = append(children[parent], i)
		} else {
			top = append(top, i)
		}
	}
	printed := make([]bool, len(spans))
	var line func(i int, indent string)
	line = func(i int, indent string) {
		if printed[i] {
			return
		}
		printed[i] = true
		s := spans[i]
		status := ""
		if s.Status.Code == dendro.StatusError {
			status = printable(strings.TrimSpace("error " + s.Status.Message))
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t+%s\t%s\t%s\n", indent, printable(s.Name), printable(s.service), s.Kind, rounded(s.Start-spans[0].Start), rounded(s.End-s.Start), status)
		if attributes {
			for _, a := range s.Attributes {
				fmt.Fprintf(w, "%s    %s=%s\n", indent, printable(a.Key), printable(a.Value.String()))
			}
		}
		for _, child := range children[i] {
			line(child, indent+"  ")
		}
	}
	fmt.Fprintln(w, "SPAN\tSERVICE\tKIND\tSTART\tDURATION\tSTATUS")
	for _, i := range top {
		line(i, "")
	}
	for i := range spans {
		line(i, "")
	}
}
