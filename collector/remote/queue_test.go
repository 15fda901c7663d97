package remote

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/dendrotrace/dendro"
)

// The memory that is kept for later batches does not grow with the largest size that
// each of their groups ever had.
func TestPooledBatchesAreBounded(t *testing.T) {
	runtime.GC()
	runtime.GC() // removes larger batches from sync.Pool
	q := queue{maxBytes: 1 << 20, batchBytes: 10_000, wake: make(chan struct{}, 1)}
	for large := range 50 {
		for i := range 50 {
			e := encoding{bytes: make([]byte, 10), chunks: []chunk{{nil, 10, 1}}, groups: 1}
			if i == large {
				e = encoding{bytes: make([]byte, 8000), chunks: []chunk{{nil, 8000, 1}}, groups: 1}
			}
			if err := q.add(&dendro.Resource{SchemaURL: string(rune(i))}, &e); err != nil {
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

// A batch that follows a full one does not grow in steps. A batch that is not filled
// takes no more memory than it needs.
func TestMemoryOfABatch(t *testing.T) {
	runtime.GC()
	runtime.GC() // removes other batches from sync.Pool
	q := queue{maxBytes: 1 << 30, batchBytes: 100_000, wake: make(chan struct{}, 1)}
	var resources [10]*dendro.Resource
	for i := range resources {
		resources[i] = &dendro.Resource{SchemaURL: string(rune('a' + i))}
	}
	r := resources[0]
	room := func() int {
		e := encoding{bytes: make([]byte, 1000), chunks: []chunk{{nil, 1000, 1}}, groups: 1}
		if err := q.add(r, &e); err != nil {
			t.Fatal(err)
		}
		return q.open.room()
	}
	if first := room(); first >= q.batchBytes {
		t.Errorf("%d bytes for the first span", first)
	}
	for len(q.waiting) == 0 {
		room()
	}
	full := q.open.room()
	if full < q.batchBytes {
		t.Errorf("%d bytes for the first span after a full batch of %d", full, q.batchBytes)
	}
	for len(q.waiting) == 1 {
		if got := room(); len(q.waiting) == 1 && got != full {
			t.Fatalf("the memory of a batch grew from %d to %d", full, got)
		}
	}
	away := func() { // the receiver accepts nothing
		t.Helper()
		for range 500 {
			q.flush()
			room()
		}
		memory, used := 0, 0
		for _, b := range q.waiting {
			memory += b.room()
			used += b.held()
		}
		if memory > 2*used {
			t.Errorf("%d bytes of memory for %d bytes in the queue", memory, used)
		}
	}
	away()
	for i := range 600 {
		e := encoding{bytes: make([]byte, 9000), chunks: []chunk{{nil, 9000, 1}}, groups: 1}
		if err := q.add(resources[i%10], &e); err != nil {
			t.Fatal(err)
		}
	}
	for b, _ := q.take(true); b != nil; b, _ = q.take(true) {
		q.finish(b)
	}
	away()
}

// Spans of equal resources and scopes are sent together, whatever their addresses.
func TestEqualResources(t *testing.T) {
	q := queue{maxBytes: 1 << 20, batchBytes: 100_000, wake: make(chan struct{}, 1)}
	for _, service := range []string{"shop", "shop", "prices", "shop"} {
		r := &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}}
		e := encoding{bytes: make([]byte, 100), chunks: []chunk{{&dendro.Scope{Name: "http"}, 50, 1}, {&dendro.Scope{Name: "sql"}, 100, 1}}, groups: 2}
		if err := q.add(r, &e); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(q.open.groups); n != 4 {
		t.Errorf("%d groups, want 4: two services with two scopes each", n)
	}
}
