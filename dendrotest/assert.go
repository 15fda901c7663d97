package dendrotest

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/caller"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Want fails the test unless its traces match a query in TraceQL
// (https://grafana.com/docs/tempo/latest/traceql/).
//
// The first stage of the query, which is what comes before the first |, selects spans. It must
// select some, and each trace in which it does must match the whole query. So this test fails
// if it makes more than two queries, and also if it makes none:
//
//	tr.Want("{ span.db.query.text != nil } | count() <= 2")
//
// Most tests have one trace, whose root is the span of the test.
func (r *Recorder) Want(query string) {
	r.t.Helper()
	q, t := r.query(query)
	if t == nil {
		return
	}
	selected, _, failed := t.evaluate(q)
	switch {
	case len(selected) == 0:
		r.fail(t, nil, "want %s, but no span matches %s", query, q.First())
	case len(failed) > 0:
		r.fail(t, failed, "want %s, got %s in a trace that does not match", query, count(len(failed), "span"))
	}
}

// None fails the test if one of its traces matches a query in TraceQL. So this test may make
// two queries, or none:
//
//	tr.None("{ span.db.query.text != nil } | count() > 2")
func (r *Recorder) None(query string) {
	r.t.Helper()
	q, t := r.query(query)
	if t == nil {
		return
	}
	if _, matching, _ := t.evaluate(q); len(matching) > 0 {
		r.fail(t, matching, "want no %s, got %s", query, count(len(matching), "span"))
	}
}

// NoErrors fails the test if one of its spans has the status [dendro.StatusError].
func (r *Recorder) NoErrors() {
	r.t.Helper()
	t := r.tree()
	if t == nil {
		return
	}
	failed := filter(t.nodes, func(n *node) bool { return n.data.Status.Code == dendro.StatusError })
	if len(failed) > 0 {
		r.fail(t, failed, "want no errors, got %s", count(len(failed), "failed span"))
	}
}

// NoRepeats fails the test if one line of the program executed a statement five times or more
// below one span, where one statement might do (the N+1 problem). Package sqldriver notes
// that, as the event "repeated statement". A test needs at least five rows to find it.
func (r *Recorder) NoRepeats() {
	r.t.Helper()
	t := r.tree()
	if t == nil {
		return
	}
	var repeated []*node
	for _, n := range t.nodes {
		for i := range n.data.Events {
			if e := &n.data.Events[i]; e.Name == semconv.DBRepeatedEvent {
				repeated = append(repeated, n.statements(e)...)
			}
		}
	}
	slices.SortFunc(repeated, func(a, b *node) int { return a.number - b.number })
	repeated = slices.Compact(repeated) // several lines may have repeated the same statement
	if len(repeated) > 0 {
		r.fail(t, repeated, "want no repeated statements (N+1), got %s", count(len(repeated), "execution"))
	}
}

// statements returns the executions that e, an event of n, is about, or n if there are none.
func (n *node) statements(e *dendro.Event) []*node {
	for _, a := range e.Attributes {
		if a.Key == semconv.DBQueryText {
			same := filter(n.children, func(c *node) bool {
				v, ok := c.attr(semconv.DBQueryText)
				return ok && v.String() == a.Value.String()
			})
			if len(same) > 0 {
				return same
			}
		}
	}
	return []*node{n}
}

// Tree returns the spans of the test as text, a line for each, indented below its parent:
//
//	TestCheckout
//	  server POST /orders http.response.status_code=201
//	    client INSERT orders db.query.text="INSERT INTO orders (customer) VALUES (?)"
//	    2 × client INSERT items db.query.text="INSERT INTO items (product) VALUES (?)"
//
// A line has the kind of the span, if it is not internal, its name, the status of an HTTP
// response, the URL of a request, the statement of a query, the error, and the attributes with
// the given keys. It begins with the service if that is not the one of [Recorder.Tracer]. Times,
// durations, hexadecimal ids and pointers, IP addresses and ports are replaced.
//
// Siblings are in the order in which they began. Those that follow each other and were begun by
// several goroutines, none of which began their parent, are ordered by name. A request of
// [Recorder.Client] counts as begun by the goroutine that made it.
func (r *Recorder) Tree(keys ...string) string {
	r.t.Helper()
	t := r.tree(keys...)
	if t == nil {
		return ""
	}
	return text(t.lines())
}

// wait waits for the spans and returns them. If some do not end, it fails the test and returns
// nil.
func (r *Recorder) wait(keys []string) *tree {
	r.t.Helper()
	nodes, ended := r.spans.wait(r.span)
	t := newTree(nodes, r.span, keys)
	if ended {
		return t
	}
	open := filter(t.nodes, func(n *node) bool { return n.open && n.handle != r.span })
	if len(open) == 0 { // they have ended since
		return t
	}
	r.fail(t, open, "%s not ended after %v", count(len(open), "span"), patience)
	return nil
}

// tree is wait for an assertion, which needs all spans.
func (r *Recorder) tree(keys ...string) *tree {
	r.t.Helper()
	t := r.wait(keys)
	if t != nil && r.spans.isFull() {
		r.t.Errorf("dendrotest: the test has more than %d spans, which is the most that is recorded", maxSpans)
		return nil
	}
	return t
}

// query parses a query and waits for the spans. If that fails, it fails the test and the tree
// is nil.
func (r *Recorder) query(text string) (*traceql.Query, *tree) {
	r.t.Helper()
	q, err := traceql.Parse(text)
	if err == nil && q.IsMetrics() {
		err = traceql.ErrMetrics
	}
	if err != nil {
		r.t.Errorf("dendrotest: query %s: %v", text, err)
		return nil, nil
	}
	return q, r.tree()
}

// evaluate returns the spans that the first stage of q selects, the spans of the traces that
// match q, and those that the first stage selects in traces that do not match.
func (t *tree) evaluate(q *traceql.Query) (selected, matching, failed []*node) {
	traces := map[dendro.TraceID][]*node{}
	var ids []dendro.TraceID
	for _, n := range t.nodes {
		id := n.data.TraceID
		if traces[id] == nil {
			ids = append(ids, id)
		}
		traces[id] = append(traces[id], n)
	}
	for _, id := range ids {
		trace := &traceql.Trace{Trace: &collector.Trace{ID: id}}
		for _, n := range traces[id] {
			trace.Spans = append(trace.Spans, *n.data)
		}
		nodesOf := func(q *traceql.Query) (out []*node) {
			for _, set := range q.Evaluate(trace) {
				for _, i := range set.Spans {
					out = append(out, traces[id][i])
				}
			}
			return out
		}
		first, all := nodesOf(q.First()), nodesOf(q)
		selected, matching = append(selected, first...), append(matching, all...)
		if len(all) == 0 {
			failed = append(failed, first...)
		}
	}
	return selected, matching, failed
}

// fail fails the test with a message and the tree, in which some spans are marked.
func (r *Recorder) fail(t *tree, marked []*node, format string, args ...any) {
	r.t.Helper()
	var b strings.Builder
	for _, l := range t.lines() {
		if of := filter(l.nodes, func(n *node) bool { return slices.Contains(marked, n) }); len(of) > 0 {
			b.WriteString("\n> " + l.text + places(of, "  "+l.indent()))
		} else {
			b.WriteString("\n  " + l.text)
		}
	}
	if len(t.nodes) == 0 {
		b.WriteString("\n  the test has no spans")
	}
	r.t.Errorf(format+"%s", append(args, b.String())...)
}

// maxStacks and maxFrames bound what is said about where the spans of a line were begun.
const (
	maxStacks = 3
	maxFrames = 3
)

// places says where spans were begun, as lines that each begin with a line break and indent.
func places(nodes []*node, indent string) string {
	var b strings.Builder
	var seen []string
	for _, n := range nodes {
		frames := n.frames()
		stack := strings.Join(frames, "\n"+indent+"   ")
		if len(frames) == 0 || slices.Contains(seen, stack) {
			continue
		}
		if seen = append(seen, stack); len(seen) > maxStacks {
			b.WriteString("\n" + indent + "and others")
			break
		}
		b.WriteString("\n" + indent + "at " + stack)
	}
	return b.String()
}

// frames returns the innermost frames of the program that began n, each with file, line and
// function. There are none if they are not known.
func (n *node) frames() (out []string) {
	for frame := range caller.Program(n.stack) {
		if out = append(out, place(frame.File, strconv.Itoa(frame.Line), frame.Function)); len(out) == maxFrames {
			break
		}
	}
	if file, ok := n.attr(semconv.CodeFilePath); ok && len(out) == 0 {
		line, _ := n.attr(semconv.CodeLineNumber)
		function, _ := n.attr(semconv.CodeFunctionName)
		out = append(out, place(file.String(), line.String(), function.String()))
	}
	return out
}

func place(file, line, function string) string {
	return shortened(file) + ":" + line + " " + path.Base(function)
}

// shortened returns the path of a file from the current directory, which is that of the package
// in a test, if it is shorter.
func shortened(file string) string {
	dir, err := os.Getwd()
	if err != nil {
		return file
	}
	rel, err := filepath.Rel(dir, filepath.FromSlash(file))
	if err != nil || len(rel) >= len(file) {
		return file
	}
	return rel
}

func filter(nodes []*node, f func(*node) bool) (out []*node) {
	for _, n := range nodes {
		if f(n) {
			out = append(out, n)
		}
	}
	return out
}

// count returns n and a noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
