package remote

import (
	"runtime"
	"testing"

	"github.com/dendrotrace/dendro"
)

// The memory that is kept for later batches does not grow with the sizes that each
// of their groups once had.
func TestPooledBatchesAreBounded(t *testing.T) {
	runtime.GC()
	runtime.GC() // empties what sync.Pool has kept for larger batches
	q := queue{maxBytes: 1 << 20, batchBytes: 10_000, wake: make(chan struct{}, 1)}
	for large := range 50 {
		for i := range 50 {
			e := encoding{bytes: make([]byte, 10), chunks: []chunk{{10, 1}}}
			if i == large {
				e = encoding{bytes: make([]byte, 8000), chunks: []chunk{{8000, 1}}}
			}
			if err := q.add(&dendro.Resource{}, nil, &e); err != nil {
				t.Fatal(err)
			}
		}
		for b, _ := q.take(true); b != nil; b, _ = q.take(true) {
			q.finish(b)
		}
		b := batches.Get().(*batch)
		if room := b.room(); room > 2*q.batchBytes {
			t.Fatalf("%d bytes are kept for batches of %d", room, q.batchBytes)
		}
		batches.Put(b)
	}
}
