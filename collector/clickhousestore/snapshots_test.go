package clickhousestore

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/internal/semconv"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// Counts of processes and of spans add up as they do in a table in memory, with any number of stores.
func TestCountsOfProcesses(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	m := &made{Rand: rand.New(rand.NewPCG(seed, 0))}
	now := time.Now()
	want := operations.New(operations.Options{Now: func() time.Time { return now }})
	dsn := testkit.ClickHouseDatabase(t)
	stores := []*Store{open(t, dsn, Options{}), open(t, dsn, Options{})}
	var spans []*dendro.Batch // that the stores get
	var snapshots [][]byte
	for n := range 6 {
		service := fmt.Sprint("service ", n%3)
		process := operations.New(operations.Options{MaxBytes: 256 << 10, Now: func() time.Time { return now }}) // for 16 operations
		for range 150 {
			s := m.random(fmt.Sprint("name ", m.IntN(5)), dendro.Kind(m.IntN(6)), m.attrs(nil,
				[]slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop")},
				[]slog.Attr{slog.String("messaging.destination.name", "orders")},
				[]slog.Attr{slog.String("server.address", m.one("bank", "mail")), slog.Int("server.port", 80)})...)
			b := ofService(service, s)
			if n%3 == 2 { // it counts nothing itself
				want.Shard(0).Count(b.Resource, b.Spans)
				spans = append(spans, b)
				continue
			}
			process.Shard(0).Count(b.Resource, b.Spans)
			if m.IntN(5) == 0 {
				b.Resource.Attributes = append(b.Resource.Attributes, slog.Bool(semconv.Counted, true))
				spans = append(spans, b)
			}
		}
		old := m.span("old", dendro.KindInternal, 30*time.Hour, time.Second)
		process.Shard(0).Count(nil, []*dendro.SpanData{old})
		now = now.Add(time.Minute) // so that no call waits
		snapshots = append(snapshots, process.TakeSnapshot(nil))
		testkit.NoError(t, want.Merge(snapshots[n]))
	}
	testkit.NoError(t, stores[0].Write(t.Context(), spans))
	written := make(chan error)
	for n, b := range snapshots {
		go func() { written <- stores[n%2].WriteOperations(t.Context(), b) }()
	}
	for range snapshots {
		testkit.NoError(t, <-written)
	}
	whole := lastDay()
	minutes, one := whole, whole
	minutes.Step, one.Step, one.Service = time.Minute, time.Hour, "service 0"
	others := 0.0
	for what, w := range map[string]collector.OperationScan{"whole": whole, "by minute": minutes, "of a service": one} {
		testkit.Equal(t, "operations, "+what, operationsIn(t, stores[0], w), operationsIn(t, want, w))
		testkit.Equal(t, "edges, "+what, edgesIn(t, stores[1], w), edgesIn(t, want, w))
	}
	for _, r := range []collector.OperationReader{want, stores[0]} {
		testkit.NoError(t, r.Operations(t.Context(), whole, func(o *collector.Operation) bool {
			if o.Other {
				others += o.Total.Spans
			}
			return true
		}))
		others = -others
	}
	testkit.Equal(t, "spans of the other operation that only one of both has", others, 0.0)
	if st := want.Stats(); st.OtherSpans == 0 || st.Late == 0 {
		t.Errorf("the test has no other and no late spans: %+v", st)
	}
	st, err := stores[0].Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "late", st.Operations.Late, want.Stats().Late)
}

// Views that would count again what processes have counted are found out, and can be replaced as the documentation says.
func TestOldViews(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	table := operations.New(operations.Options{})
	table.Shard(0).Count(nil, []*dendro.SpanData{(&made{}).span("work", dendro.KindInternal, 0, time.Second)})
	snapshot := table.TakeSnapshot(nil)
	s := open(t, dsn, Options{})
	execute := func(statement string) {
		t.Helper()
		testkit.NoError(t, s.conn.Exec(t.Context(), statement))
	}
	drop := func() {
		for _, suffix := range []string{"counted_mv", "operations_mv", "edges_mv", "calls_mv", "answers_mv"} {
			execute("DROP VIEW IF EXISTS otel_traces_" + suffix)
		}
		execute("DROP TABLE otel_traces_counted")
	}
	drop()
	execute("CREATE TABLE otel_traces_counted (Minute DateTime) ENGINE = Null")
	testkit.Equal(t, "error", open(t, dsn, Options{ExistingTables: true}).WriteOperations(t.Context(), snapshot), errNoMarks)
	drop()
	testkit.NoError(t, open(t, dsn, Options{}).WriteOperations(t.Context(), snapshot))
	testkit.Equal(t, "operations", len(operationsIn(t, s, lastDay())), 1)
}
