package keep

import (
	"container/heap"
	"slices"
	"sort"
	"sync"

	"github.com/dendrotrace/dendro"
)

// pending are the traces whose spans wait in the ring to be sent, those with the highest priority first.
type pending struct {
	most int
	wake chan struct{} // holds a token when there may be one

	mu    sync.Mutex
	items items // guarded by mu
}

// item is a trace that waits.
type item struct {
	id     dendro.TraceID
	rank   float64 // its priority, or more if somebody has asked for it
	reason string  // if this process is where the trace was found to matter
	weight float64
	root   dendro.SpanID // the span that gets both
}

// push adds an item. If there are too many, it gives up a quarter of them, those with the lowest priority, and returns
// these.
func (p *pending) push(i item) (out []item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) >= p.most {
		sort.Sort(p.items) // a sorted heap is a heap
		keep := p.most * 3 / 4
		out = slices.Clone(p.items[keep:])
		p.items = p.items[:keep]
	}
	heap.Push(&p.items, i)
	poke(p.wake)
	return out
}

func (p *pending) pop() (i item, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.items) == 0 {
		return item{}, false
	}
	return heap.Pop(&p.items).(item), true
}

func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.items)
}

// items is a heap.
type items []item

func (h items) Len() int           { return len(h) }
func (h items) Less(i, j int) bool { return h[i].rank > h[j].rank }
func (h items) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *items) Push(x any)        { *h = append(*h, x.(item)) }
func (h *items) Pop() any {
	last := len(*h) - 1
	i := (*h)[last]
	*h = (*h)[:last]
	return i
}

// poke puts a token into c, which has room for one, unless it has one already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
