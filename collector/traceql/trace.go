package traceql

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Trace is a trace with what queries need to know about its structure, which is found
// when it is first needed. It is not safe for concurrent use.
type Trace struct {
	*collector.Trace

	tree *tree
	// done, if it is not nil, ends the evaluation. What it returned then is incomplete.
	done    <-chan struct{}
	stopped bool
}

// goOn reports whether an evaluation that has come to span i goes on.
func (t *Trace) goOn(i int) bool {
	const every = 1 << 10
	if i%every == 0 && t.done != nil {
		select {
		case <-t.done:
			t.stopped = true
		default:
		}
	}
	return !t.stopped
}

// tree is the structure of a trace. Spans are identified by their indices.
type tree struct {
	byID     map[dendro.SpanID]int // of several spans with one id, the first
	parents  []int                 // -1 if the span has none, or it has not arrived
	children [][]int
	sets     []nestedSet // nil until it is needed
	start    int64
	end      int64
	root     int // the first span without a parent, or -1
}

// nestedSet numbers the spans in the order of a walk through the tree: the descendants of a
// span are those whose left is between the left and the right of the span. The parent of a
// root is -1. All are 0 for spans that are not below a root.
type nestedSet struct{ left, right, parent int64 }

func (t *Trace) structure() *tree {
	if t.tree != nil {
		return t.tree
	}
	n := len(t.Spans)
	tr := &tree{byID: make(map[dendro.SpanID]int, n), parents: make([]int, n), children: make([][]int, n), root: -1}
	for i := 0; i < n && t.goOn(i); i++ {
		s := &t.Spans[i]
		if _, ok := tr.byID[s.SpanID]; !ok {
			tr.byID[s.SpanID] = i
		}
		if i == 0 {
			tr.start, tr.end = s.Start, s.End
		}
		tr.start, tr.end = min(tr.start, s.Start), max(tr.end, s.End)
		if !s.ParentID.IsValid() && (tr.root < 0 || s.Start < t.Spans[tr.root].Start) {
			tr.root = i
		}
	}
	for i := range t.Spans { // also if the evaluation is over
		tr.parents[i] = -1
		if p, ok := tr.byID[t.Spans[i].ParentID]; ok && t.Spans[i].ParentID.IsValid() && p != i {
			tr.parents[i] = p
			tr.children[p] = append(tr.children[p], i)
		}
	}
	t.tree = tr
	return tr
}

func (t *Trace) parent(i int) int       { return t.structure().parents[i] }
func (t *Trace) childrenOf(i int) []int { return t.structure().children[i] }
func (t *Trace) bounds() (int64, int64) { tr := t.structure(); return tr.start, tr.end }
func (t *Trace) nestedSet(i int) nestedSet {
	tr := t.structure()
	if tr.sets == nil {
		tr.number(t.Spans)
	}
	return tr.sets[i]
}

// root returns the root span, or nil.
func (t *Trace) root() *collector.Span {
	if r := t.structure().root; r >= 0 {
		return &t.Spans[r]
	}
	return nil
}

// number sets the nested sets. Cycles of parents are not below a root.
func (tr *tree) number(spans []collector.Span) {
	tr.sets = make([]nestedSet, len(spans))
	next := int64(1)
	type step struct{ span, child int }
	for i := range spans {
		if spans[i].ParentID.IsValid() {
			continue
		}
		tr.sets[i] = nestedSet{left: next, parent: -1}
		next++
		for stack := []step{{i, 0}}; len(stack) > 0; {
			top := &stack[len(stack)-1]
			if kids := tr.children[top.span]; top.child < len(kids) {
				child := kids[top.child]
				top.child++
				tr.sets[child] = nestedSet{left: next, parent: tr.sets[top.span].left}
				next++
				stack = append(stack, step{child, 0})
				continue
			}
			tr.sets[top.span].right = next
			next++
			stack = stack[:len(stack)-1]
		}
	}
}

func lookUp(attrs []slog.Attr, key string) Value {
	for i := range attrs {
		if attrs[i].Key == key {
			return ValueOf(attrs[i].Value)
		}
	}
	for i := range attrs {
		if n := len(attrs[i].Key); attrs[i].Value.Kind() == slog.KindAny && len(key) > n && key[n] == '.' && key[:n] == attrs[i].Key {
			if v := inside(attrs[i].Value, key[n+1:]); !v.IsNil() {
				return v
			}
		}
	}
	return Value{}
}

// inside returns the value with the dotted key inside v.
func inside(v slog.Value, key string) Value {
	switch x := v.Any().(type) {
	case dendro.KeyValues:
		return lookUp(x, key)
	case []slog.Value:
		index, rest, below := strings.Cut(key, ".")
		i, err := strconv.Atoi(index)
		switch {
		case err != nil || i < 0 || i >= len(x) || strconv.Itoa(i) != index || !slices.ContainsFunc(x, collector.HasMembers):
		case below:
			return inside(x[i], rest)
		default:
			return ValueOf(x[i])
		}
	}
	return Value{}
}

// maxDotted is the length of the longest dotted key that leaves makes.
const maxDotted = 256

// leaves calls f for each of attrs, and instead of those that have members, for these,
// with dotted keys, unless these are too long.
func leaves(attrs []slog.Attr, f func(key string, v slog.Value)) {
	for _, a := range attrs {
		if a.Value.Kind() != slog.KindAny || !collector.HasMembers(a.Value) {
			f(a.Key, a.Value)
			continue
		}
		switch x := a.Value.Any().(type) {
		case dendro.KeyValues:
			leaves(x, func(key string, v slog.Value) {
				if len(a.Key)+1+len(key) <= maxDotted {
					f(a.Key+"."+key, v)
				}
			})
		case []slog.Value:
			for i, v := range x {
				if key := strconv.Itoa(i); len(a.Key)+1+len(key) <= maxDotted {
					leaves([]slog.Attr{{Key: a.Key + "." + key, Value: v}}, f)
				}
			}
		}
	}
}
