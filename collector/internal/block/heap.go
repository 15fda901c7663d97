package block

// Heap is a heap of traces, the newest first.
type Heap []Trace

// Push adds a trace.
func (h *Heap) Push(t Trace) {
	*h = append(*h, t)
	a := *h
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if a[up].NewestFirst(&a[i]) < 0 {
			return
		}
		a[up], a[i] = a[i], a[up]
		i = up
	}
}

// Pop removes the newest trace, which is h[0], and returns it.
func (h *Heap) Pop() Trace {
	a := *h
	top, last := a[0], len(a)-1
	a[0] = a[last]
	a[last] = Trace{}
	a = a[:last]
	*h = a
	for i := 0; ; {
		down := 2*i + 1
		if down >= len(a) {
			return top
		}
		if down+1 < len(a) && a[down+1].NewestFirst(&a[down]) < 0 {
			down++
		}
		if a[i].NewestFirst(&a[down]) < 0 {
			return top
		}
		a[i], a[down] = a[down], a[i]
		i = down
	}
}
