package pebblestore

import (
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The memory for what a head holds is about as large as it says, however small requests are.
func TestMemoryOfHead(t *testing.T) {
	s := openMem(t, Options{})
	for n := range 50 {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{batchOf(1, n)}))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete()
	memory := 0
	for _, segment := range s.head.segments {
		memory += cap(segment.data)
	}
	if memory > 2*s.head.bytes {
		t.Errorf("%d bytes of memory for %d", memory, s.head.bytes)
	}
}
