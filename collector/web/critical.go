package web

import (
	"cmp"
	"iter"
	"slices"
)

// segment is a part of the critical path: what a row did itself in that time kept the trace
// from ending earlier.
type segment struct {
	row      int
	from, to int64
}

// criticalPath returns the root whose duration the path explains, which is the longest one,
// and the path, ordered by time. The path has no gaps.
//
// It is found from the end. What a span waited for last is the child that ended last. Before
// that child began, it is the child that ended last of those that had begun, and so on. What is
// left is the span's own time, when no child was active. What a child does after its parent has
// ended is not on the path.
func criticalPath(rows []row) (root int, path []segment) {
	if len(rows) == 0 {
		return -1, nil
	}
	root = -1
	for i := range siblings(rows, 0, len(rows)) {
		if root < 0 || rows[i].end-rows[i].start > rows[root].end-rows[root].start {
			root = i
		}
	}
	var kids []int
	for stack := []segment{{root, rows[root].start, rows[root].end}}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		kids = kids[:0]
		for i := range siblings(rows, at.row+1, at.row+rows[at.row].size) {
			kids = append(kids, i)
		}
		slices.SortStableFunc(kids, func(a, b int) int { return cmp.Compare(rows[b].end, rows[a].end) })
		until := at.to
		for _, kid := range kids {
			from, to := max(rows[kid].start, at.from), min(rows[kid].end, until)
			if from >= to {
				continue // it ran beside what is on the path, or took no time
			}
			if to < until {
				path = append(path, segment{at.row, to, until})
			}
			stack = append(stack, segment{kid, from, to})
			until = from
		}
		if at.from < until {
			path = append(path, segment{at.row, at.from, until})
		}
	}
	slices.SortFunc(path, func(a, b segment) int { return cmp.Compare(a.from, b.from) })
	return root, path
}

// siblings returns the rows from, its next sibling and so on, as far as they are before to. For a
// fold, it returns the spans in it.
func siblings(rows []row, from, to int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := from; i < to; {
			switch {
			case rows[i].fold != nil:
				i++ // the spans follow
				continue
			case !yield(i):
				return
			}
			i += rows[i].size
		}
	}
}
