package goroutine

import (
	"runtime"
	"sync"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// The number is that of Go, also when the stack has moved.
func TestID(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint64]bool{}
	all := sync.WaitGroup{}
	start := make(chan struct{})
	for range 100 {
		all.Go(func() {
			<-start
			id := ID()
			if want := printed(); id != want || id == 0 {
				t.Errorf("ID is %d, want %d", id, want)
			}
			grow(200, func() { testkit.Equal(t, "ID on a stack that has grown", ID(), id) })
			runtime.Gosched()
			testkit.Equal(t, "ID later", ID(), id)
			mu.Lock()
			defer mu.Unlock()
			if seen[id] {
				t.Errorf("two goroutines have the number %d", id)
			}
			seen[id] = true
		})
	}
	close(start)
	all.Wait()
}

// grow calls f with at least n kilobytes of stack in use.
func grow(n int, f func()) byte {
	var used [1 << 10]byte
	if n == 0 {
		f()
		return 0
	}
	used[n] = grow(n-1, f)
	return used[n/2]
}

// Where there is a record, it is used: package diagnostics asks for the number at each span.
func TestPlaceIsFound(t *testing.T) {
	if record() == nil {
		t.Skip("no record on " + runtime.GOARCH)
	}
	if place() == 0 {
		t.Errorf("%s has the number of a goroutine elsewhere", runtime.Version())
	}
	testkit.Equal(t, "allocations", testing.AllocsPerRun(100, func() { ID() }), 0.0)
}

func BenchmarkID(b *testing.B) {
	for b.Loop() {
		ID()
	}
}

func BenchmarkPrinted(b *testing.B) {
	for b.Loop() {
		printed()
	}
}
