package web_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/web"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// readStore counts how often a trace is read.
type readStore struct {
	*fakeStore
	reads atomic.Int32
}

func (s *readStore) Trace(ctx context.Context, id dendro.TraceID, within collector.TimeRange) (*collector.Trace, error) {
	s.reads.Add(1)
	return s.fakeStore.Trace(ctx, id, within)
}

// A trace is read and laid out once for its page and the rows that the page asks for. Later
// questions get the trace as it is then.
func TestRowsOfPage(t *testing.T) {
	store := &readStore{fakeStore: &fakeStore{}}
	store.add(span(1, 1, 0, "shop", "GET", 0, 100))
	server := serve(t, store, web.Options{})
	shown := followed(t, server.URL+"/trace/1?start=1")
	has(t, rowsOf(t, shown), `"spans":1`)
	testkit.Equal(t, "reads", store.reads.Load(), int32(1))

	store.add(span(1, 2, 1, "shop", "SELECT", 1, 2))
	other := followed(t, server.URL+"/trace/1")
	has(t, rowsOf(t, shown), `"spans":`)
	testkit.Equal(t, "reads for another page, and again for the first", store.reads.Load(), int32(3))
	has(t, rowsOf(t, other), `"spans":`)
	testkit.Equal(t, "reads for the rows of the other page", store.reads.Load(), int32(3))
	testkit.Equal(t, "wrong clocks", followed(t, server.URL+"/api/dendro/traces/1?clocks=x").status, 400)
}
