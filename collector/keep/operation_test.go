package keep

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// A hundredth is slow, also if all requests take about as long.
func TestShareOfSlow(t *testing.T) {
	for _, spread := range []float64{0, 0.005, 0.01, 0.02, 0.05, 0.5} {
		var op operation
		slow, stand := 0, 0.0
		const n = 20_000
		r := rand.New(rand.NewPCG(1, 2))
		for range n {
			d := time.Duration(10e6 * (1 + spread*r.NormFloat64()))
			if weight, _ := op.seen(d, 1, r.Float64(), 0.01); weight > 0 {
				slow++
				stand += weight
			}
		}
		if slow < n/100 || slow > n/50 {
			t.Errorf("spread %v: %d of %d are slow", spread, slow, n)
		}
		if spread == 0 && (stand < 0.9*n || stand > 1.1*n) {
			t.Errorf("those that stand for all with one duration stand for %v of %d", stand, n)
		}
	}
}

// Each minute has an ordinary trace, whatever the rate.
func TestOrdinaryEachMinute(t *testing.T) {
	for _, interval := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond, 30 * time.Second} {
		var op operation
		n := 0
		const minutes = 60
		for at := time.Duration(1); at < minutes*time.Minute; at += interval {
			if _, ordinary := op.seen(time.Millisecond, int64(at), 0.5, 0.01); ordinary > 0 {
				n++
			}
		}
		if n < minutes-2 || n > minutes {
			t.Errorf("a request each %v: %d ordinary traces in %d minutes", interval, n, minutes)
		}
	}
}

func TestLimiter(t *testing.T) {
	now := time.Unix(1000, 0)
	admitted := func(n int, every time.Duration, limit float64, priority func() float64) (count int, stand float64) {
		var l limiter
		at := now
		for range n {
			if w, ok := l.admit(at, priority(), limit); ok {
				count++
				stand += w
			}
			at = at.Add(every)
		}
		return count, stand
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		what        string
		n           int
		every       time.Duration
		limit       float64
		least, most int
	}{
		{"below the limit", 1000, 20 * time.Millisecond, 100, 1000, 1000},
		{"above it", 100_000, time.Millisecond, 10, 900, 1100},
		{"one a minute, once in ten minutes", 100, 10 * time.Minute, 1.0 / 60, 100, 100},
		{"one a minute, each second", 36_000, time.Second, 1.0 / 60, 450, 750},
	} {
		n, stand := admitted(c.n, c.every, c.limit, r.Float64)
		if n < c.least || n > c.most {
			t.Errorf("%s: %d of %d", c.what, n, c.n)
		}
		if stand < 0.8*float64(c.n) || stand > 1.2*float64(c.n) {
			t.Errorf("%s: they stand for %v of %d", c.what, stand, c.n)
		}
	}
	if n, _ := admitted(100_000, time.Microsecond, 100, func() float64 { return 1 }); n > hardLimit*100 {
		t.Errorf("%d were admitted whose ids were chosen", n)
	}
}

// When too many traces wait, those with a low priority are given up.
func TestPending(t *testing.T) {
	p := pending{most: 100, wake: make(chan struct{}, 1)}
	given := 0
	r := rand.New(rand.NewPCG(1, 2))

	for i := range 1000 {
		out := p.push(item{id: dendro.TraceID{byte(i), byte(i >> 8)}, rank: r.Float64()})
		given += len(out)
		for _, o := range out {
			if o.rank > 0.95 {
				t.Errorf("%v was given up", o.rank)
			}
		}
	}
	testkit.Equal(t, "given up and waiting", given+p.size(), 1000)
	before := 2.0
	for i, ok := p.pop(); ok; i, ok = p.pop() {
		if i.rank > before {
			t.Errorf("%v comes after %v", i.rank, before)
		}
		before = i.rank
	}
}

// The generations of what is known are forgotten one after the other.
func TestKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKnown(200)
		id := func(i int) dendro.TraceID { return dendro.TraceID{15: byte(i), 14: byte(i >> 8), 3: 7} }
		for i := range 1000 {
			testkit.Equal(t, "new", k.add(id(i)), true)
			testkit.Equal(t, "known", k.add(id(i)), false)
			for back := range 100 {
				if i >= back && k.get(id(i-back)) != waiting {
					t.Fatalf("%d is forgotten at %d", i-back, i)
				}
			}
		}
		k.set(id(999), sent)
		testkit.Equal(t, "state", k.get(id(999)), sent)
		testkit.Equal(t, "state of one that is forgotten", k.get(id(1)), unknown)
		if n := k.size(); n < 100 || n > 200 {
			t.Errorf("%d are remembered", n)
		}
	})
}
