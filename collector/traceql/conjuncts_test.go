package traceql

import (
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestConjuncts(t *testing.T) {
	for query, want := range map[string]string{
		`{ }`:                                    `{ }`,
		`{ .a = 1 && .b = 2 }`:                   `{ .a = 1 && .b = 2 }`,
		`{ .a = 1 } && { .b = 2 } && { .c = 3 }`: `{ .a = 1 }; { .b = 2 }; { .c = 3 }`,
		`{ .a = 1 } && ({ .b = 2 } && { .c = 3 })`:    `{ .a = 1 }; { .b = 2 }; { .c = 3 }`,
		`{ .a = 1 } || { .b = 2 } && { .c = 3 }`:      `{ .a = 1 } || { .b = 2 }; { .c = 3 }`,
		`{ .a = 1 } >> { .b = 2 } && { .c = 3 }`:      `{ .a = 1 } >> { .b = 2 }; { .c = 3 }`,
		`({ .a = 1 } | count() > 1) && { .b = 2 }`:    `{ .a = 1 } | count() > 1; { .b = 2 }`,
		`{ .a = 1 } && { .b = 2 } | count() > 1`:      `{ .a = 1 } && { .b = 2 } | count() > 1`,
		`{ .a = 1 } && { .b = 2 } | rate() with(x=1)`: `{ .a = 1 } && { .b = 2 } | rate() with(x=1)`,
	} {
		q, err := Parse(query)
		testkit.NoError(t, err)
		var got []string
		for _, c := range q.Conjuncts() {
			got = append(got, c.String())
		}
		testkit.Equal(t, query, strings.Join(got, "; "), want)
	}
}
