package sqldriver

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/sqltransparency"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// differential is a situation in which the driver is called.
type differential struct {
	name    string
	tracer  *dendro.Tracer
	roots   bool
	request bool // below a span
}

func differentials() []differential {
	traced := dendro.New(dendro.Options{Service: "test", Sampler: dendro.AlwaysSample})
	never := dendro.New(dendro.Options{Service: "test", Sampler: dendro.NeverSample})
	return []differential{
		{"traced", traced, false, true}, {"not sampled", never, false, true},
		{"without a request", traced, false, false}, {"roots", traced, true, false},
	}
}

func (d differential) library() sqltransparency.Library {
	l := sqltransparency.Library{Name: d.name, Wrap: func(bare driver.Driver) driver.Driver {
		return WrapDriver(bare, Options{Tracer: d.tracer, Roots: d.roots})
	}}
	if d.request {
		l.Context = func(ctx context.Context) context.Context {
			ctx, span := d.tracer.Start(ctx, "request")
			span.End()
			return ctx
		}
	}
	return l
}

// differs runs a script on the bare driver and on the wrapped one. It fails if the
// driver or the caller can see a difference, or if a span is not ended.
func (d differential) differs(t *testing.T, data []byte) {
	t.Helper()
	before := d.tracer.Stats().Unfinished
	bare, wrapped := sqltransparency.Run(t, sqltransparency.Library{}, data), sqltransparency.Run(t, d.library(), data)
	if want, got := sqltransparency.Difference(bare, wrapped); want != got {
		t.Errorf("%s, %s\nbare:    %s\nwrapped: %s", d.name, bare[0], want, got)
	}
	// After a panic of the driver, database/sql may never use the connection again.
	left := d.tracer.Stats().Unfinished - before
	if left != 0 && !strings.Contains(strings.Join(wrapped, "\n"), "= panic: ") {
		t.Errorf("%s: %d spans were never ended:\n%s", d.name, left, strings.Join(wrapped, "\n"))
	}
}

// TestDifferential makes the same random calls on a random scripted driver, bare and
// wrapped. The calls that the driver gets and the results that the caller gets are the
// same.
func TestDifferential(t *testing.T) {
	ways := differentials()
	seeds := uint64(6000)
	if testkit.Race {
		seeds = 1000
	}
	failed := 0
	for seed := range seeds {
		d := ways[seed%uint64(len(ways))]
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { d.differs(t, sqltransparency.Random(seed)) }) {
			if failed++; failed > 3 {
				t.FailNow()
			}
		}
	}
}

// FuzzDifferential is TestDifferential for scripts of any bytes. The first byte
// selects the situation.
func FuzzDifferential(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(append([]byte{byte(seed)}, sqltransparency.Random(seed)...))
	}
	ways := differentials()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 0 && len(data) <= 512 {
			ways[int(data[0])%len(ways)].differs(t, data[1:])
		}
	})
}
