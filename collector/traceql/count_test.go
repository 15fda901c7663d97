package traceql

import (
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestAtLeast(t *testing.T) {
	for query, want := range map[string]struct {
		rest string
		d    time.Duration
	}{
		`{ duration > 1ms }`:                                 {`{ }`, time.Millisecond + 1},
		`{ 1ms <= span:duration }`:                           {`{ }`, time.Millisecond},
		`{ duration > 1ms && name = "a" && duration >= 2s }`: {`{ name = "a" }`, 2 * time.Second},
		`{ duration > 1ms && duration < 2ms }`:               {`{ duration < 2ms }`, time.Millisecond + 1},
		`{ duration > 5 && (name = "a" || duration > 1s) }`:  {`{ name = "a" || duration > 1s }`, 6},
		`{ duration >= 0 }`:                                  {`{ }`, 0},
		`{ duration > 1.5 }`:                                 {`{ duration > 1.5 }`, 0},
		`{ duration > 9223372036854775807 }`:                 {`{ duration > 9223372036854775807 }`, 0},
		`{ duration = 1ms }`:                                 {`{ duration = 1ms }`, 0},
		`{ parent.a > 1ms || duration > 1ms }`:               {`{ parent.a > 1ms || duration > 1ms }`, 0},
		`{ traceDuration > 1ms && .a > 1 }`:                  {`{ traceDuration > 1ms && .a > 1 }`, 0},
		`{ !(duration > 1ms) }`:                              {`{ !(duration > 1ms) }`, 0},
		`{ }`:                                                {`{ }`, 0},
	} {
		q, err := Parse(query)
		testkit.NoError(t, err)
		rest, d := atLeast(q.stages[0].(spansetStage).spansets.(filter).condition)
		left := Query{stages: []stage{spansetStage{filter{rest}}}}
		testkit.Equal(t, "rest of "+query, left.String(), want.rest)
		testkit.Equal(t, "duration of "+query, d, want.d)
	}
}
