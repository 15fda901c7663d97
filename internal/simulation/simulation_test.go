package simulation

import (
	"cmp"
	"flag"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The tests simulate a few seconds. For more, and to read the table:
//
//	go test -v -run 'TestThousand$' -timeout 1h ./internal/simulation -requests 200000 -warmup 1m
var (
	seedFlag     = flag.Uint64("seed", 1, "simulate the requests of this `number`")
	requestsFlag = flag.Int("requests", 0, "simulate this `number` of requests instead of what a test would")
	rateFlag     = flag.Float64("rate", 0, "simulate this `number` of requests a second instead of what a test would")
	warmupFlag   = flag.Duration("warmup", 0, "judge requests after this `time` instead of after that of a test")
)

// base is what all scenarios have in common: messages are lost now and then, and clocks are wrong.
func base() Options {
	return Options{Rate: 1000, Warmup: 2 * time.Second, Loss: 0.01, Skew: time.Minute}
}

// run simulates o. With the race detector, which is ten times slower, there are too few requests for their shares to be
// judged, and only two scenarios, which have everything that could race.
func run(t *testing.T, o Options) *Result {
	t.Helper()
	testkit.NoLeaks(t)
	before := slog.Default() // clients log that they cannot reach the collector
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer slog.SetDefault(before)
	if testkit.Race {
		o.Requests /= 10
	}
	o.Seed = *seedFlag
	o.Requests = cmp.Or(*requestsFlag, o.Requests)
	o.Rate = cmp.Or(*rateFlag, o.Rate)
	o.Warmup = cmp.Or(*warmupFlag, o.Warmup)
	var r *Result
	synctest.Test(t, func(*testing.T) { r = Run(o) })
	t.Logf("\n%s", r)
	if r.Kept.Whole == 0 {
		t.Error("no trace was kept")
	}
	if r.MaxRing > r.RingBound {
		t.Errorf("a ring took %d bytes, more than %d", r.MaxRing, r.RingBound)
	}
	return r
}

func skipWithRace(t *testing.T) {
	if testkit.Race {
		t.Skip("with the race detector, two scenarios are enough")
	}
}

// whole checks that a share of traces is whole.
func whole(t *testing.T, what string, s Share, least float64) {
	t.Helper()
	if s.Part() < least {
		t.Errorf("%s: %d of %d are whole, want %.1f %%", what, s.Whole, s.All, 100*least)
	}
}

// goal checks that the traces that matter are whole: errors, and the slowest. Those of which a consumer decides minutes later may not
// be: rings have overwritten the rest.
func goal(t *testing.T, r *Result) {
	t.Helper()
	whole(t, "kept", r.Kept, 0.99)
	whole(t, "errors", r.Errors, 0.99)
	if !testkit.Race {
		whole(t, "slowest", r.SlowAll, 0.97) // operations have only begun to learn
	}
}

func TestThousand(t *testing.T) {
	o := base()
	o.Requests, o.Warmup = 20_000, 10*time.Second
	goal(t, run(t, o))
}

// A process of an operation sees more than the default of Limit of the slowest in a second.
func TestHundredThousand(t *testing.T) {
	skipWithRace(t)
	o := base()
	o.Requests, o.Rate, o.Warmup, o.Entries = 20_000, 100_000, 100*time.Millisecond, 2
	o.Keep = keep.Options{RingBytes: 16 << 20, Limit: 1000}
	goal(t, run(t, o))
}

func TestLossyNetwork(t *testing.T) {
	skipWithRace(t)
	o := base()
	o.Requests, o.Loss = 5000, 0.2
	r := run(t, o)
	whole(t, "kept", r.Kept, 0.995)
	whole(t, "errors", r.Errors, 0.99)
}

func TestRestartedProcesses(t *testing.T) {
	o := base()
	o.Requests, o.RestartProcess = 5000, 250*time.Millisecond
	r := run(t, o)
	whole(t, "kept", r.Kept, 0.98)
	whole(t, "errors", r.Errors, 0.98)
	if !testkit.Race && r.Kept.Lost == 0 {
		t.Error("no trace was in the memory of a process that was killed")
	}
}

func TestRestartedCollector(t *testing.T) {
	skipWithRace(t)
	o := base()
	o.Requests, o.RestartCollector = 10_000, 6*time.Second
	r := run(t, o)
	whole(t, "kept", r.Kept, 0.99)
	whole(t, "errors", r.Errors, 0.99)
}

// While everything fails, processes keep a share of the traces, and all of each.
func TestStorm(t *testing.T) {
	skipWithRace(t)
	o := base()
	o.Requests, o.Rate, o.Warmup = 8000, 10_000, 0
	o.Storm = [2]time.Duration{200 * time.Millisecond, 700 * time.Millisecond}
	o.Keep = keep.Options{RingBytes: 16 << 20, Limit: 5}
	r := run(t, o)
	whole(t, "kept", r.InStorm, 0.995)
	if kept := float64(r.StormKept.Traces) / float64(r.StormAll.Traces); kept > 0.5 {
		t.Errorf("%.0f %% of the storm is kept", 100*kept)
	}
	if r.MaxPending > 1<<16 || r.MaxQueue > 16<<20 {
		t.Errorf("%d traces waited, and %d bytes", r.MaxPending, r.MaxQueue)
	}
}
