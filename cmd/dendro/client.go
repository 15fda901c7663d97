package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// client is a command that asks the query API of a running dendro, or of a program that
// mounts the page.
type client struct {
	addr, output string
	token        bearer
	certificates certificateFlags
	since        time.Duration
	flags        *flag.FlagSet

	header http.Header // of each request
	http   *http.Client
}

// defaultPage is the page of "dendro serve".
const defaultPage = "http://127.0.0.1:8700"

// clientTimeout bounds a request.
const clientTimeout = time.Minute

// maxErrorBytes bounds the text of an error that is printed.
const maxErrorBytes = 1000

// newClient returns a client with the flags that all of them have. operand describes its
// argument, and example is an argument.
func newClient(name, operand, example string, stderr io.Writer) *client {
	c := &client{flags: newFlags(name, operand, example, stderr)}
	c.flags.StringVar(&c.addr, "addr", defaultPage, "`URL` of the page")
	c.token.flag(c.flags, "token-file", "the page")
	c.certificates.flags(c.flags)
	return c
}

// window adds the flags for the time and the format of the output.
func (c *client) window(since time.Duration) {
	c.flags.DurationVar(&c.since, "since", since, "`time` before now to look at")
	c.format()
}

// format adds the flag for the format of the output.
func (c *client) format() {
	c.flags.StringVar(&c.output, "o", "table", "`format` of the output, table or json")
}

// parse returns the only argument, after which close must be called, or an exit code.
func (c *client) parse(args []string) (operand string, code int) {
	switch err := c.flags.Parse(args); {
	case err == flag.ErrHelp: //nolint:errorlint // never wrapped
		return "", exitOK
	case err != nil:
		return "", exitUsage
	}
	problem := ""
	switch {
	case c.flags.NArg() == 0:
		problem = "an argument is missing"
	case c.flags.NArg() > 1:
		problem = fmt.Sprintf("unexpected argument %q: put the query in quotes, and flags before it", c.flags.Arg(1))
	case c.since < 0:
		problem = fmt.Sprintf("-since %v: want a time that is not negative", c.since)
	case c.output != "" && c.output != "table" && c.output != "json":
		problem = fmt.Sprintf("-o %s: want table or json", c.output)
	}
	if problem != "" {
		return "", usageError(c.flags, "%s", problem)
	}
	return c.flags.Arg(0), c.connect()
}

// pageConnections is how many connections to a page are kept open.
const pageConnections = 4

// connect makes c ready for requests, after which close must be called. If it returns an exit code
// other than -1, it has printed why.
func (c *client) connect() int {
	if u, err := url.Parse(c.addr); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return usageError(c.flags, "-addr %q: want a URL such as %s", c.addr, defaultPage)
	}
	var err error
	if c.header, err = c.token.header(); err != nil {
		return c.fail(err)
	}
	transport, err := c.certificates.transport(pageConnections)
	if err != nil {
		return c.fail(err)
	}
	c.http = &http.Client{Transport: transport}
	return -1
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get asks the API and returns the body of the response.
func (c *client) get(ctx context.Context, path string, v url.Values, accept string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	body, err := c.open(ctx, path, v, accept)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// open asks the API and returns the body of the response, which must be closed. The error of a
// response is what it says.
func (c *client) open(ctx context.Context, path string, v url.Values, accept string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(path)+"?"+v.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	req.Header.Set("Accept", accept)
	return c.do(req)
}

// post sends a form to the API.
func (c *client) post(ctx context.Context, path string, form url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(path), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header = c.header.Clone()
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := c.do(req)
	if err != nil {
		return err
	}
	return body.Close()
}

func (c *client) url(path string) string { return strings.TrimSuffix(c.addr, "/") + path }

// do makes a request and returns the body of the response, which must be closed.
func (c *client) do(req *http.Request) (io.ReadCloser, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes))
	if text := strings.TrimSpace(string(body)); err == nil && text != "" && len(body) < maxErrorBytes {
		return nil, &answerError{res.StatusCode, text}
	}
	return nil, &answerError{res.StatusCode, fmt.Sprintf("%s answers %s: is it a page of dendro?", c.addr, res.Status)}
}

// answerError is what a page says instead of an answer.
type answerError struct {
	status int
	text   string
}

func (e *answerError) Error() string { return e.text }

// fail prints err and returns the exit code.
func (c *client) fail(err error) int { return failed(c.flags, err) }

// answer decodes the JSON of a response, or copies it to out if that is asked for.
func (c *client) answer(body []byte, out io.Writer, into any) (done bool, err error) {
	if c.output == "json" {
		_, err := out.Write(append(body, '\n'))
		return true, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return false, fmt.Errorf("%s does not answer like a page of dendro: %w", c.addr, err)
	}
	return false, nil
}

// attribute is an attribute in a response.
type attribute struct {
	Key   string
	Value map[string]any
}

func (a attribute) String() string {
	for _, v := range a.Value {
		return printable(fmt.Sprint(a.Key, "=", v))
	}
	return printable(a.Key) + "=nil"
}

// printable returns s without line breaks, tabs and what else controls a terminal. Spans may
// come from anyone.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// foundTrace is a trace in the response to a search.
type foundTrace struct {
	TraceID, RootServiceName, RootTraceName string
	StartTimeUnixNano, DurationNanos        int64 `json:",string"`
	SpanCount, ErrorCount                   int
	SpanSets                                []struct {
		Matched    int
		Attributes []attribute
		Spans      []struct {
			SpanID, Name  string
			DurationNanos int64 `json:",string"`
			Attributes    []attribute
		}
	}
}

func (t *foundTrace) start() string {
	return time.Unix(0, t.StartTimeUnixNano).Format("2006-01-02 15:04:05.000")
}

func runQuery(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("query", "QUERY", `'{ resource.service.name = "shop" && duration > 1s }'`, stderr)
	c.window(0)
	limit := c.flags.Int("limit", 20, "largest `number` of traces, up to 1000")
	spans := c.flags.Int("spans", 3, "largest `number` of matched spans of each span set, up to 1000")
	query, code := c.parse(args)
	if code >= 0 {
		return code
	}
	defer c.close()
	v := url.Values{"q": {query}, "limit": {strconv.Itoa(*limit)}, "spss": {strconv.Itoa(*spans)}}
	if c.since > 0 {
		v.Set("start", strconv.FormatInt(time.Now().Add(-c.since).Unix(), 10))
	}
	body, err := c.get(ctx, "/api/search", v, "application/json")
	if err != nil {
		return c.fail(err)
	}
	var found struct {
		Message string
		Traces  []foundTrace
	}
	if done, err := c.answer(body, stdout, &found); err != nil {
		return c.fail(err)
	} else if done {
		return exitOK
	}
	if found.Message != "" {
		defer fmt.Fprintf(stderr, "%s: %s\n", c.flags.Name(), found.Message)
	}
	if len(found.Traces) == 0 {
		fmt.Fprintln(stdout, "no trace matches")
		return exitOK
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TRACE\tSTART\tDURATION\tSPANS\tERRORS\tROOT")
	for _, t := range found.Traces {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s %s\n", t.TraceID, t.start(),
			rounded(t.DurationNanos), t.SpanCount, t.ErrorCount, printable(t.RootServiceName), printable(t.RootTraceName))
		for _, set := range t.SpanSets {
			if text := join(set.Attributes); text != "" {
				fmt.Fprintf(w, "  %d matched\t%s\n", set.Matched, text)
			}
			for _, s := range set.Spans {
				fmt.Fprintf(w, "  %s\t\t%s\t\t\t%s %s\n", s.SpanID, rounded(s.DurationNanos), printable(s.Name), join(s.Attributes))
			}
		}
	}
	if err := w.Flush(); err != nil {
		return c.fail(err)
	}
	return exitOK
}

func join(attrs []attribute) string {
	texts := make([]string, len(attrs))
	for i, a := range attrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}

// rounded formats nanoseconds with about three digits.
func rounded(ns int64) time.Duration {
	d := time.Duration(ns)
	for unit := time.Duration(1); unit < time.Hour; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}

func runMetrics(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("metrics", "QUERY", `'{ kind = server } | quantile_over_time(duration, .99) by(name)'`, stderr)
	c.window(time.Hour)
	step := c.flags.Duration("step", 0, "`time` between samples; by default a sixtieth of -since")
	query, code := c.parse(args)
	if code >= 0 {
		return code
	}
	defer c.close()
	if *step == 0 {
		*step = max(c.since/60, time.Second)
	}
	v := url.Values{"q": {query}, "since": {c.since.String()}, "step": {step.String()}, "exemplars": {"0"}}
	body, err := c.get(ctx, "/api/metrics/query_range", v, "application/json")
	if err != nil {
		return c.fail(err)
	}
	var found struct {
		Series []struct {
			Labels  []attribute
			Samples []struct {
				TimestampMs int64 `json:",string"`
				Value       float64
			}
		}
	}
	if done, err := c.answer(body, stdout, &found); err != nil {
		return c.fail(err)
	} else if done {
		return exitOK
	}
	if len(found.Series) == 0 {
		fmt.Fprintln(stdout, "no span matches")
		return exitOK
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERIES\tLAST\tMIN\tMAX\t")
	for _, s := range found.Series {
		values := map[int64]float64{}
		least, most, last := 0.0, 0.0, 0.0
		for i, sample := range s.Samples {
			values[sample.TimestampMs] = sample.Value
			if i == 0 {
				least, most = sample.Value, sample.Value
			}
			least, most, last = min(least, sample.Value), max(most, sample.Value), sample.Value
		}
		name := join(s.Labels)
		if name == "" {
			name = "all"
		}
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%.4g\t%s\n", name, last, least, most, sparkline(values, step.Milliseconds(), most))
	}
	if err := w.Flush(); err != nil {
		return c.fail(err)
	}
	return exitOK
}

// sparkline draws values by their times in milliseconds, from the first to the last.
func sparkline(values map[int64]float64, step int64, most float64) string {
	const bars = "▁▂▃▄▅▆▇█"
	first, last := int64(-1), int64(0)
	for at := range values {
		if first < 0 || at < first {
			first = at
		}
		last = max(last, at)
	}
	var b strings.Builder
	for at := first; at <= last && len(values) > 0; at += step {
		v, ok := values[at]
		if !ok {
			b.WriteByte(' ')
			continue
		}
		i := 0
		if most > 0 {
			i = int(v / most * 7.99)
		}
		b.WriteString(string([]rune(bars)[min(max(i, 0), 7)]))
	}
	return b.String()
}
