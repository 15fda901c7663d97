package web

import (
	"cmp"
	"fmt"
	"log/slog"
	"path"
	"strings"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// minFold is the least number of spans that are folded into one row. It equals the
// number from which sqldriver reports a repeated statement.
const minFold = 5

// fold is a row that represents the rows below it: spans with the same parent that do
// the same work and have no children, such as the queries of an N+1 problem.
type fold struct {
	spans  int
	errors int
	total  int64  // sum of the durations, in nanoseconds
	caller string // the code that they come from, or "" if unknown
}

// work is what spans with the same parent must have in common to be folded.
type work struct {
	name    string
	service string
	kind    int
	text    string // query text or URL
}

func workOf(s *collector.Span) work {
	text := cmp.Or(textAttribute(s.Attributes, semconv.DBQueryText), textAttribute(s.Attributes, semconv.URLFull))
	return work{s.Name, s.Resource.Service(), int(s.Kind), text}
}

// foldRepeats moves rows with repeated work below fold rows. A fold row takes the
// place of its first span.
func foldRepeats(rows []row) []row {
	members := map[int][]int{} // by the index of the first member
	folded := make([]bool, len(rows))
	var leaves []int
	look := func(from, to int) {
		leaves = leaves[:0]
		for i := range siblings(rows, from, to) {
			if r := &rows[i]; r.span != nil && r.size == 1 && !r.cycle {
				leaves = append(leaves, i)
			}
		}
		if len(leaves) < minFold {
			return
		}
		groups := map[work][]int{}
		for _, i := range leaves {
			w := workOf(rows[i].span)
			groups[w] = append(groups[w], i)
		}
		for _, group := range groups {
			if len(group) < minFold {
				continue
			}
			members[group[0]] = group
			for _, i := range group {
				folded[i] = true
			}
		}
	}
	look(0, len(rows))
	for i := range rows {
		look(i+1, i+rows[i].size)
	}
	if len(members) == 0 {
		return rows
	}
	callers := map[int]map[string]string{} // by the row of the parent and the statement
	callerOf := func(first int) string {
		parent, query := rows[first].parent, textAttribute(rows[first].span.Attributes, semconv.DBQueryText)
		if parent < 0 || rows[parent].span == nil || query == "" {
			return ""
		}
		if callers[parent] == nil {
			callers[parent] = callersOf(rows[parent].span)
		}
		return callers[parent][query]
	}
	out := make([]row, 0, len(rows)+len(members))
	places := make([]int, len(rows)) // indices in out
	add := func(i, parent int) {
		places[i] = len(out)
		r := rows[i]
		if r.parent = parent; parent >= 0 {
			r.depth = out[parent].depth + 1
		}
		out = append(out, r)
	}
	for i := range rows {
		parent := rows[i].parent
		if parent >= 0 {
			parent = places[parent]
		}
		if group := members[i]; group != nil {
			at := len(out)
			out = append(out, newFold(rows, group, parent, callerOf(group[0])))
			for _, i := range group {
				add(i, at)
			}
		} else if !folded[i] {
			add(i, parent)
		}
	}
	setSizes(out)
	return out
}

// newFold returns the fold row for a group of rows. parent is the index of its parent.
func newFold(rows []row, group []int, parent int, caller string) row {
	first := &rows[group[0]]
	f := &fold{spans: len(group), caller: caller}
	r := row{fold: f, parent: parent, depth: first.depth, start: first.start, end: first.end, id: first.id}
	for _, i := range group {
		m := &rows[i]
		r.start, r.end = min(r.start, m.start), max(r.end, m.end)
		f.total += m.end - m.start
		f.errors += errorsOf(m.span)
	}
	return r
}

// callersOf returns the code that repeated statements below parent, by statement, according to
// the events of sqldriver.
func callersOf(parent *collector.Span) map[string]string {
	out := map[string]string{}
	for i := range parent.Events {
		attrs := parent.Events[i].Attributes
		query := textAttribute(attrs, semconv.DBQueryText)
		if _, known := out[query]; known || parent.Events[i].Name != semconv.DBRepeatedEvent {
			continue
		}
		function := textAttribute(attrs, semconv.CodeFunctionName)
		function = function[strings.LastIndexByte(function, '/')+1:]
		for _, a := range attrs {
			if function != "" && a.Key == semconv.CodeLineNumber && a.Value.Kind() == slog.KindInt64 {
				function = fmt.Sprintf("%s, %s:%d", function, path.Base(textAttribute(attrs, semconv.CodeFilePath)), a.Value.Int64())
				break
			}
		}
		out[query] = function
	}
	return out
}

// textAttribute returns the value of a string attribute, or "" if it is missing.
func textAttribute(attrs []slog.Attr, key string) string {
	for i := range attrs {
		if attrs[i].Key == key && attrs[i].Value.Kind() == slog.KindString {
			return attrs[i].Value.String()
		}
	}
	return ""
}
