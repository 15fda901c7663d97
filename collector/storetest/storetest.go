// Package storetest tests that a [collector.Store] behaves as the interface documents.
// Every store must pass it.
package storetest

import (
	"testing"

	"github.com/dendrotrace/dendro/collector"
)

// Run tests the stores that open returns. They must be empty and have room for some
// megabytes of spans. If they need closing, open registers that with t.Cleanup. Each
// subtest opens a store of its own.
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
		{"one batch of several scopes", severalScopes},
		{"no resource and no scope", noOrigin},
		{"spans are ordered", spanOrder},
		{"one batch", oneBatch},
		{"one batch of several traces", severalTraces},
		{"trace at a time", traceAtATime},
		{"trace arrives in parts", parts},
		{"root arrives late", lateRoot},
		{"root is missing", missingRoot},
		{"batch is sent again", sentAgain},
		{"batch is sent again among fresh ones", sentAgainAmongFresh},
		{"span is in two batches", overlap},
		{"two spans share an id", sharedID},
		{"caller owns what it gave and got", ownership},
		{"what is written can be read", written},

		{"scan: newest first", newestFirst},
		{"scan: many traces", manyTraces},
		{"scan: rare things", rareThings},
		{"scan: stops early", stopsEarly},
		{"scan: time", timeRange},
		{"scan: what is wanted", wanted},
		{"scans and traces agree with a model", agreesWithModel},
		{"queries", queries},

		{"operations are counted", operations},
		{"edges are counted", edges},
		{"counts of processes add up", countsOfProcesses},
		{"damaged counts change nothing", damagedCounts},

		{"canceled context", canceled},
		{"stats add up", stats},
		{"many goroutines", concurrency},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}
