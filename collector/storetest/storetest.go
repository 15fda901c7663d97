// Package storetest holds the contract of [collector.Store] as tests, which
// every store passes.
package storetest

import (
	"testing"

	"github.com/dendrotrace/dendro/collector"
)

// Run tests stores that open returns: empty, with room for some megabytes of
// spans, and closed by a Cleanup if they need it. Each subtest opens its own.
func Run(t *testing.T, open func(t *testing.T) collector.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s collector.Store)
	}{
		{"absence is no error", absence},
		{"empty batch", emptyBatch},
		{"every field comes back", everyField},
		{"every value comes back", everyValue},
		{"resource and scope are shared", sharedOrigin},
		{"no resource and no scope", noOrigin},
		{"spans are ordered", spanOrder},
		{"one batch", oneBatch},
		{"one batch of several traces", severalTraces},
		{"trace arrives in parts", parts},
		{"root arrives late", lateRoot},
		{"root is missing", missingRoot},
		{"batch is sent again", sentAgain},
		{"batch is sent again among fresh ones", sentAgainAmongFresh},
		{"span is in two batches", overlap},
		{"two spans share an id", sharedID},
		{"caller owns what it gave and got", ownership},

		{"search: newest first", newestFirst},
		{"search: same start", sameStart},
		{"search: limit", limit},
		{"search: time", timeRange},
		{"search: duration", durations},
		{"search: service and name", serviceAndName},
		{"search: errors", errorsOnly},
		{"search: tags", tags},
		{"search: all conditions", combined},
		{"search: invalid queries", invalidQueries},
		{"search and traces agree with a model", agreesWithModel},

		{"tags", tagKeys},
		{"tag values", tagValues},
		{"tag values: at most a thousand", manyTagValues},

		{"canceled context", canceled},
		{"stats add up", stats},
		{"many goroutines", concurrency},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}
