package pebblestore

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var (
	failures = flag.Int("failures", 30, "TestPowerLoss: number of simulated power failures")
	seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: a random one")
)

// seedOf returns the seed of a random test, and logs it.
func seedOf(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	return seed
}

// clock is a time that a test moves.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time            { return time.Unix(0, c.nanos.Load()) }
func (c *clock) add(d time.Duration) int64 { return c.nanos.Add(int64(d)) }

// What was acknowledged is there after the power has failed, while runs are written and dropped.
// Each failure loses all that was not synced, or a random part of it. -failures 200 takes longer.
func TestPowerLoss(t *testing.T) {
	testkit.NoLeaks(t)
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 1))
	left := *failures
	if testkit.Race {
		left /= 6
	}
	for round := uint64(0); left > 0; round++ {
		// The store of a failure is used until the next one.
		fs, clock, l := &powerFS{MemFS: vfs.NewCrashableMem()}, newClock(), newLedger(seed+round)
		number := new(atomic.Int64)
		for range min(left, 5) {
			left--
			fs = powerFailure(t, fs, r, l, number, clock)
		}
	}
}

// powerFS is a file system in memory that can be copied while it is used. Link of a MemFS takes a
// read lock twice, so that it waits forever for a copy that begins in between.
type powerFS struct {
	*vfs.MemFS
	links sync.RWMutex
}

func (fs *powerFS) Link(oldname, newname string) error {
	fs.links.RLock()
	defer fs.links.RUnlock()
	return fs.MemFS.Link(oldname, newname)
}

// fail returns what is left when the power fails.
func (fs *powerFS) fail(r *rand.Rand) *powerFS {
	fs.links.Lock()
	defer fs.links.Unlock()
	return &powerFS{MemFS: fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, r.IntN(101)}[r.IntN(2)], RNG: r})}
}

const powerAge = time.Minute

// powerFailure writes to the store in fs until the power fails, and returns what is left.
func powerFailure(t *testing.T, fs *powerFS, r *rand.Rand, l *ledger, number *atomic.Int64, clock *clock) *powerFS {
	o := Options{fs: fs, headBytes: []int{1, 4 << 10, 64 << 10}[r.IntN(3)], now: clock.now, MaxAge: powerAge, KeepErrors: time.Duration(r.IntN(2)) * 100 * 365 * 24 * time.Hour, Logger: quiet}
	s, err := Open("traces", o)
	testkit.NoError(t, err)
	var writers sync.WaitGroup
	var acked atomic.Int64
	enough := make(chan struct{})
	after := int64(1 + r.IntN(60))
	for range 3 {
		writers.Go(func() {
			for {
				n := int(number.Add(1))
				if n%5 == 0 {
					n -= n % 17 // again
				}
				now := clock.now()
				err := s.Write(t.Context(), []*dendro.Batch{batchOf(l.seed, n)})
				if errors.Is(err, errClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				l.add(n, now)
				clock.add(powerAge / 200)
				if acked.Add(1) == after {
					close(enough)
				}
			}
		})
	}
	<-enough
	time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond) // where it fails is random
	known := l.clone()
	clone := fs.fail(r)
	testkit.NoError(t, s.Close())
	writers.Wait()

	o.fs, o.MaxAge = clone, 0 // nothing is dropped while it is checked
	s, err = Open("traces", o)
	testkit.NoError(t, err)
	defer func() { testkit.NoError(t, s.Close()) }()
	known.check(t, s, clock.now().Add(-powerAge))
	if s.Metrics().Damaged > 0 {
		t.Errorf("%d places are damaged", s.Metrics().Damaged)
	}
	if t.Failed() {
		t.FailNow()
	}
	l.at = known.at // what came later is gone
	return clone
}
