package web

import (
	"cmp"
	"slices"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// row is a line of the trace page: a span, a parent that has not arrived, or a fold.
type row struct {
	span *collector.Span // nil for a missing parent and a fold
	fold *fold           // nil unless the row is a fold
	id   dendro.SpanID   // for a fold, the id of its first span
	// parent is the index of the parent row, or -1 for roots.
	parent int
	depth  int
	// size is the number of rows in the subtree: this row and the rows right after it.
	size int
	// start and end are the times of the span. For a missing parent, they span the
	// times of its children.
	start, end int64
	// self is the time in which no child was active, in nanoseconds.
	self int64
	// cycle is set if the parent was ignored because it is below this span.
	cycle bool
	// twice is set if other spans have the same id.
	twice bool
}

// layOut arranges the spans of a trace as rows: each span below its parent, and
// siblings by start. Spans whose parent is missing are below a row that represents it.
// A cycle of parents is cut at its first span. No span is lost.
func layOut(spans []collector.Span) []row {
	n := len(spans)
	byID := make(map[dendro.SpanID]int, n)
	var again []int // spans with an id that an earlier one has
	for i := range spans {
		if _, twice := byID[spans[i].SpanID]; twice {
			again = append(again, i)
		} else {
			byID[spans[i].SpanID] = i
		}
	}

	// The nodes are the spans, followed by the missing parents. The children of a node
	// are a linked list, since most nodes have few and one may have all.
	type kin struct{ firstChild, lastChild, next int }
	nodes := make([]row, n, n+1)
	family := make([]kin, n, n+1)
	for i := range family {
		family[i] = kin{-1, -1, -1}
	}
	var roots []int
	for i := range spans {
		s := &spans[i]
		nodes[i] = row{span: s, id: s.SpanID, parent: -1, start: s.Start, end: max(s.Start, s.End)}
		if !s.ParentID.IsValid() {
			roots = append(roots, i)
			continue
		}
		p, known := byID[s.ParentID]
		if !known {
			p = len(nodes)
			byID[s.ParentID] = p
			nodes = append(nodes, row{id: s.ParentID, parent: -1, start: s.Start})
			family = append(family, kin{-1, -1, -1})
			roots = append(roots, p)
		}
		if last := family[p].lastChild; last >= 0 {
			family[last].next = i
		} else {
			family[p].firstChild = i
		}
		family[p].lastChild = i
		if p >= n {
			nodes[p].end = max(nodes[p].end, nodes[i].end)
		}
	}
	for _, i := range again {
		nodes[i].twice, nodes[byID[spans[i].SpanID]].twice = true, true
	}
	slices.SortStableFunc(roots, func(a, b int) int { return cmp.Compare(nodes[a].start, nodes[b].start) })

	rows := make([]row, 0, len(nodes))
	placed := make([]bool, len(nodes))
	type step struct{ node, parent int }
	var stack []step
	place := func(root int) {
		stack = append(stack, step{root, -1})
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if next := family[at.node].next; at.parent >= 0 && next >= 0 {
				stack = append(stack, step{next, at.parent})
			}
			if placed[at.node] {
				continue
			}
			placed[at.node] = true
			if child := family[at.node].firstChild; child >= 0 {
				stack = append(stack, step{child, len(rows)})
			}
			r := nodes[at.node]
			if r.parent = at.parent; r.parent >= 0 {
				r.depth = rows[r.parent].depth + 1
			}
			rows = append(rows, r)
		}
	}
	for _, i := range roots {
		place(i)
	}
	for i := range n {
		if !placed[i] { // in a cycle of parents, or below one
			first := firstOfCircle(i, func(i int) int { return byID[spans[i].ParentID] })
			nodes[first].cycle = true
			place(first)
		}
	}
	measure(rows)
	return rows
}

// firstOfCircle returns the lowest node in the cycle that following the parents of
// node leads to.
func firstOfCircle(node int, parent func(int) int) int {
	seen := map[int]bool{}
	for ; !seen[node]; node = parent(node) {
		seen[node] = true
	}
	first := node
	for at := parent(node); at != node; at = parent(at) {
		first = min(first, at)
	}
	return first
}

// measure sets the sizes and self times.
func measure(rows []row) {
	covered := make([]int64, len(rows)) // end of the time that children covered so far
	for i := range rows {
		r := &rows[i]
		covered[i] = r.start
		if r.span != nil {
			r.self = r.end - r.start
		}
		if r.parent < 0 || rows[r.parent].span == nil {
			continue
		}
		p := &rows[r.parent]
		from, to := max(r.start, covered[r.parent]), min(r.end, p.end)
		if from < to {
			p.self -= to - from
			covered[r.parent] = to
		}
	}
	setSizes(rows)
}

// setSizes sets the sizes.
func setSizes(rows []row) {
	for i := range rows {
		rows[i].size = 1
	}
	for i := range slices.Backward(rows) {
		if p := rows[i].parent; p >= 0 {
			rows[p].size += rows[i].size
		}
	}
}

// isLate reports whether a row is a span that begins after its parent has ended.
func isLate(rows []row, i int) bool {
	above := spanAbove(rows, i)
	return rows[i].span != nil && above >= 0 && rows[above].span != nil && rows[i].start > rows[above].end
}

// spanAbove returns the parent of a row that is not a fold, or -1.
func spanAbove(rows []row, i int) int {
	above := rows[i].parent
	if above >= 0 && rows[above].fold != nil {
		above = rows[above].parent
	}
	return above
}
