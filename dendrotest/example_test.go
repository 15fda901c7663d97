package dendrotest_test

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/dendrotest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The tests of docs/testing.md.

// This endpoint makes at most two queries. The database is a mock.
func TestExampleQueries(t *testing.T) {
	tr := dendrotest.New(t)
	handler := newShop(t).routes()
	r := httptest.NewRequestWithContext(tr.Context(), "GET", "/orders-at-once", nil)
	handler.ServeHTTP(httptest.NewRecorder(), r)

	tr.Want("{ span.db.query.text =~ `SELECT.*` } | count() <= 2")
	tr.NoRepeats()
	tr.NoErrors()
}

// The request goes through a server, whose middleware has the default tracer.
func TestExampleServer(t *testing.T) {
	t.Parallel()
	tr := dendrotest.New(t)
	server := httptest.NewServer(newShop(t).routes())
	defer server.Close()
	resp, err := tr.Client(server.Client()).Get(server.URL + "/orders-at-once")
	testkit.NoError(t, err)
	resp.Body.Close()

	tr.Golden("testdata/server.tree")
}

// In a bubble, an hour takes no time, and so does waiting for what never ends.
func TestExampleBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := dendrotest.New(t)
		go func() {
			_, span := dendro.Start(tr.Context(), "send mail")
			defer span.End()
			time.Sleep(time.Second)
		}()
		synctest.Wait() // until it has begun
		tr.Want("{ name = `send mail` && duration = 1s }")
	})
}
