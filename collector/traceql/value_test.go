package traceql

import (
	"math"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// The least integer has a word of its own in a query, and digits in an answer.
func TestLeastInteger(t *testing.T) {
	v := Int(math.MinInt64)
	testkit.Equal(t, "query", v.String(), "minInt")
	testkit.Equal(t, "text", v.Text(), "-9223372036854775808")
}
