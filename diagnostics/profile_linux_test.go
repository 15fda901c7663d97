package diagnostics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
)

var profileTime = flag.Duration("profile.time", 0, "processor time for TestProfileTime, which then wants profiles that are right within a tenth")

// The samples of the profile of an operation sum to the processor time that the operation has used, as the clocks of its threads
// tell. To measure it:
//
//	go test -run TestProfileTime -v ./diagnostics -profile.time 20s
func TestProfileTime(t *testing.T) {
	// A busy machine loses signals of the profiler, and never invents one.
	total, missing, extra := time.Second, .9, .15
	if *profileTime > 0 {
		total, missing, extra = *profileTime, .1, .1
	}
	d, tracer := traced()
	const rounds = 4
	shares := map[string]float64{"GET /dear/{id}": .7, "GET /cheap/{id}": .3}
	for operation, share := range shares {
		var used clocks
		r := chi.NewRouter()
		r.Use(middleware.New(middleware.Options{Tracer: tracer}))
		for path, share := range shares {
			r.Get(path[len("GET "):], func(http.ResponseWriter, *http.Request) {
				part := time.Duration(share * float64(total) / rounds / 2)
				var other sync.WaitGroup
				other.Go(func() { used.burn(path, part) }) // a goroutine of the request
				used.burn(path, part)
				other.Wait()
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		done := make(chan error, 1)
		go func() { done <- d.Profile(ctx, &out, operation, MaxProfile) }()
		waitUntil(t, func() bool { return d.mode.Load()&labeling != 0 || len(done) > 0 })
		for range rounds {
			for path := range shares {
				request := path[len("GET "):len(path)-len("{id}")] + "7"
				r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", request, nil))
			}
		}
		cancel()
		if err := <-done; errors.Is(err, ErrProfiling) {
			t.Skip(err) // go test -cpuprofile
		} else {
			testkit.NoError(t, err)
		}
		sums := timeByOperation(t, out.Bytes())
		testkit.Equal(t, "operations in the profile", len(sums), 1)
		off := float64(sums[operation])/float64(used.of[operation]) - 1
		t.Logf("%s, %.0f %% of the time: %v of samples, %v by the clocks of the threads, %+.1f %%", operation, 100*share, sums[operation], used.of[operation], 100*off)
		if off < -missing || off > extra {
			t.Errorf("the samples of %s are %+.1f %% off, want -%.0f to +%.0f %%", operation, 100*off, 100*missing, 100*extra)
		}
	}
}

// clocks sum the processor time of operations.
type clocks struct {
	mu sync.Mutex
	of map[string]time.Duration // guarded by mu
}

// burn uses d of processor time for an operation.
func (c *clocks) burn(operation string, d time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began, work := threadTime(), uint64(1)
	for threadTime() < began+d {
		for range 1000 { // mostly not in the kernel
			work += work >> 3
		}
	}
	used := threadTime() - began
	runtime.KeepAlive(work)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]time.Duration{}
	}
	c.of[operation] += used
}

// threadTime returns the processor time of the current thread.
func threadTime() time.Duration {
	const threadCPUTime = 3 // CLOCK_THREAD_CPUTIME_ID
	var now syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, threadCPUTime, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		panic(errno)
	}
	return time.Duration(now.Nano())
}
