package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
)

const (
	keepPath = "/api/dendro/keep"
	// lookAgain is the time between two looks for a trace, and settled is how long one has not grown that is complete.
	lookAgain = 50 * time.Millisecond
	settled   = time.Second
	// longestHold is how long everything can be kept.
	longestHold = time.Hour
)

// runKeep has processes send what they still have of traces, or everything for some time, or prints what is kept.
func runKeep(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("keep", "ID…", "5b8efff798038103d269b633813fc60c", stderr)
	timeout := c.flags.Duration("timeout", 10*time.Second, "`time` in which the traces must arrive at the page")
	hold := c.flags.Duration("hold", 0, "`time`, up to 1h, in which processes send everything, instead of traces with ids; -hold 0s ends it")
	status := c.flags.Bool("status", false, "print what is kept and why, and which processes keep their spans, instead")
	c.flags.StringVar(&c.output, "o", "table", "`format` of -status, table or json")
	switch err := c.flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	holds := false
	c.flags.Visit(func(f *flag.Flag) { holds = holds || f.Name == "hold" })
	chosen := 0
	for _, is := range []bool{c.flags.NArg() > 0, holds, *status} {
		if is {
			chosen++
		}
	}
	switch {
	case misplaced(c.flags) != "":
		return usageError(c.flags, "unexpected argument %q: put flags before the ids", misplaced(c.flags))
	case chosen != 1:
		return usageError(c.flags, "want ids of traces, -hold or -status, one of these")
	case *timeout <= 0:
		return usageError(c.flags, "-timeout %v: want more than zero", *timeout)
	case *hold < 0 || *hold > longestHold:
		return usageError(c.flags, "-hold %v: want a time from 0s to %v", *hold, longestHold)
	case c.output != "table" && c.output != "json":
		return usageError(c.flags, "-o %s: want table or json", c.output)
	}
	if code := c.connect(); code >= 0 {
		return code
	}
	defer c.close()
	var err error
	switch {
	case *status:
		err = c.keepStatus(ctx, stdout)
	case holds:
		err = c.post(ctx, keepPath, url.Values{"hold": {strconv.Itoa(int(hold.Seconds()))}})
	default:
		err = c.fetch(ctx, c.flags.Args(), *timeout, stdout)
	}
	if err != nil {
		return c.fail(err)
	}
	return exitOK
}

// fetch has all processes send what they have of traces, and waits until the page has these, and they do not grow.
func (c *client) fetch(ctx context.Context, ids []string, timeout time.Duration, stdout io.Writer) error {
	if err := c.post(ctx, keepPath, url.Values{"trace": ids}); err != nil {
		return err
	}
	spans, grown := make([]int, len(ids)), make([]time.Time, len(ids))
	for end, done := time.Now().Add(timeout), false; !done && time.Now().Before(end); {
		done = true
		for i, id := range ids {
			n, err := c.size(ctx, id)
			if err != nil {
				return err
			}
			if n > spans[i] {
				spans[i], grown[i] = n, time.Now()
			}
			done = done && n > 0 && time.Since(grown[i]) >= settled
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	absent := 0
	for i, id := range ids {
		if spans[i] == 0 {
			absent++
			fmt.Fprintf(stdout, "%s  not found\n", id)
			continue
		}
		fmt.Fprintf(stdout, "%s  %d spans\n", id, spans[i])
	}
	if absent > 0 {
		return fmt.Errorf("%d of %d traces have not arrived in %v: no process has them any more, or is connected; -status lists the processes", absent, len(ids), timeout)
	}
	return nil
}

// size returns how many spans of a trace the page has.
func (c *client) size(ctx context.Context, id string) (int, error) {
	body, err := c.get(ctx, "/api/dendro/traces/"+url.PathEscape(id)+"/size", nil, "application/json")
	if answer := (*answerError)(nil); errors.As(err, &answer) && answer.status == http.StatusNotFound {
		return 0, nil
	}
	var size struct{ Spans int }
	if err == nil {
		err = json.Unmarshal(body, &size)
	}
	return size.Spans, err
}

// keepStatus prints what is kept.
func (c *client) keepStatus(ctx context.Context, stdout io.Writer) error {
	body, err := c.get(ctx, keepPath, nil, "application/json")
	if err != nil {
		return err
	}
	var s struct {
		keep.HubStats
		Traces []struct {
			keep.Kept
			RootService, RootName string
			Duration              int64
			Spans                 int
			Missing               string
		}
		Coherence struct{ Traces, Whole int }
	}
	if done, err := c.answer(body, stdout, &s); done || err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "kept\t%s\n", byReason(s.Kept))
	fmt.Fprintf(w, "whole\t%d of %d\n", s.Coherence.Whole, s.Coherence.Traces)
	fmt.Fprintf(w, "lost\t%s\n", byReason(s.Lost))
	if s.Hold > 0 {
		fmt.Fprintf(w, "hold\teverything, for another %v\n", s.Hold.Round(time.Second))
	}
	for _, r := range s.Rules {
		limit := ""
		if r.Limit > 0 {
			limit = fmt.Sprintf(" %d/min", r.Limit)
		}
		fmt.Fprintf(w, "rule\t%s%s: %s\n", printable(r.Name), limit, printable(r.Query))
	}
	fmt.Fprintln(w, "\nSERVICE\tINSTANCE\tHAS THE LAST\tBYTES\tKEPT\tASKED\tFOUND\tWAITING\tLOST\tSEEN")
	for _, p := range s.Processes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\t%s\n", printable(p.Service), printable(p.Instance), rounded(int64(p.RingAge)), p.RingBytes,
			byReason(p.Kept), p.Asked, p.Found, p.Pending+p.Unannounced, byReason(p.Lost), clockTime(p.Seen))
	}
	fmt.Fprintln(w, "\nTRACE\tKEPT\tREASON\tBY\tDURATION\tSPANS\tMISSING\tROOT")
	for _, t := range s.Traces {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s %s\n", t.TraceID, clockTime(t.Time), printable(t.Reason), printable(t.Service), rounded(t.Duration), t.Spans, t.Missing,
			printable(t.RootService), printable(t.RootName))
	}
	return w.Flush()
}

func clockTime(t time.Time) string { return t.Local().Format("15:04:05") }

// byReason returns counts as a text, or "none".
func byReason(counts map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", printable(reason), counts[reason]))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
