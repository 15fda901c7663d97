package clickhousestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/operations"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// operationsIn returns the operations that r has, as text.
func operationsIn(t *testing.T, r collector.OperationReader, w collector.OperationScan) (out []string) {
	t.Helper()
	testkit.NoError(t, r.Operations(t.Context(), w, func(o *collector.Operation) bool {
		out = append(out, fmt.Sprintf("%q %q %v: %s", o.Service, o.Name, o.Kind, countsText(o.Total, o.Points)))
		return true
	}))
	return out
}

// edgesIn returns the edges that r has, as text.
func edgesIn(t *testing.T, r collector.OperationReader, w collector.OperationScan) (out []string) {
	t.Helper()
	testkit.NoError(t, r.Edges(t.Context(), w, func(e *collector.Edge) bool {
		out = append(out, fmt.Sprintf("%q -> %q: %s", e.Client, e.Server, countsText(e.Total, e.Points)))
		return true
	}))
	return out
}

func countsText(total collector.Counts, points []collector.Counts) string {
	var b strings.Builder
	for i, c := range append([]collector.Counts{total}, points...) {
		if i == 0 || c.Spans > 0 {
			fmt.Fprintf(&b, "point %d: %v spans, %v errors", i-1, c.Spans, c.Errors)
			for bucket, n := range c.Durations.Buckets() {
				fmt.Fprintf(&b, " %d:%v", bucket, n)
			}
			b.WriteString("; ")
		}
	}
	return b.String()
}

// made makes spans that ended some time ago.
type made struct {
	*rand.Rand
	spans uint64
}

func (m *made) span(name string, kind dendro.Kind, ago, d time.Duration, attrs ...slog.Attr) *dendro.SpanData {
	m.spans++
	end := time.Now().Add(-ago).UnixNano()
	s := &dendro.SpanData{Name: name, Kind: kind, Start: end - int64(d), End: end, Attributes: attrs}
	s.TraceID[0] = 1
	binary.BigEndian.PutUint64(s.SpanID[:], m.spans)
	return s
}

// random returns a span that ended in the last three hours, but not in the last minutes.
func (m *made) random(name string, kind dendro.Kind, attrs ...slog.Attr) *dendro.SpanData {
	s := m.span(name, kind, 3*time.Minute+time.Duration(m.Int64N(int64(3*time.Hour))), time.Duration(m.Int64()>>(11+m.IntN(52))), attrs...)
	if m.IntN(4) == 0 {
		s.Status.Code = dendro.StatusError
	}
	if m.IntN(4) == 0 { // weights that are powers of two add up without rounding
		s.State, _ = s.State.Set("ot", []string{"th:8", "rv:1;th:c", "th:e", "th:ffffffffffffff", "th:C"}[m.IntN(5)])
	}
	return s
}

func (m *made) one(of ...string) string { return of[m.IntN(len(of))] }

// attrs returns one of several sets of attributes.
func (m *made) attrs(sets ...[]slog.Attr) []slog.Attr { return sets[m.IntN(len(sets))] }

func ofService(name string, spans ...*dendro.SpanData) *dendro.Batch {
	return &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", name)}}, Spans: spans}
}

func lastDay() collector.OperationScan {
	now := time.Now()
	return collector.OperationScan{Start: now.Add(-24 * time.Hour), End: now.Add(time.Minute)}
}

// What ClickHouse counts is what a table in memory does.
func TestCountsAgree(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	m := &made{Rand: rand.New(rand.NewPCG(seed, 0))}
	services := []string{"shop", "mail", "stock", "", "größe"}
	var batches []*dendro.Batch
	for range 1500 {
		s := m.random(m.one("GET /", "query", "", "a'b\\"), dendro.Kind(m.IntN(6)))
		if s.Kind == dendro.KindProducer || s.Kind == dendro.KindConsumer {
			s.Attributes = m.attrs(nil, []slog.Attr{slog.String("messaging.system", "kafka")},
				[]slog.Attr{slog.String("messaging.destination.name", "orders")},
				[]slog.Attr{slog.String("messaging.system", m.one("kafka", "nats")), slog.String("messaging.destination.name", m.one("orders", "mails"))})
		}
		batches = append(batches, ofService(m.one(services...), s))
	}
	for range 500 {
		batches = append(batches, ofService(m.one(services...), m.random("SELECT", dendro.KindClient, m.attrs(
			[]slog.Attr{slog.String("db.system.name", "postgresql"), slog.String("db.namespace", "shop"), slog.String("server.address", "db")},
			[]slog.Attr{slog.String("db.system.name", "redis"), slog.String("server.address", "cache"), slog.Int("server.port", 6379)},
			[]slog.Attr{slog.String("db.system", "mysql"), slog.String("db.name", "mails"), slog.String("net.peer.name", "db")},
			[]slog.Attr{slog.String("db.system", "mysql"), slog.String("net.peer.name", "db")},
			[]slog.Attr{slog.String("db.system.name", "sqlite")})...)))
	}
	for range 1500 {
		client := m.random("GET", dendro.KindClient, m.attrs(nil,
			[]slog.Attr{slog.String("server.address", "mail"), slog.Int("server.port", 80)},
			[]slog.Attr{slog.String("net.peer.name", "elsewhere"), slog.Int("net.peer.port", 8080)},
			[]slog.Attr{slog.String("server.address", "gateway")},
			[]slog.Attr{slog.String("server.address", "10.0.0.1"), slog.String("peer.service", "payment"), slog.Int("server.port", 80)},
			[]slog.Attr{slog.Int("server.port", 80)})...)
		batches = append(batches, ofService(m.one("shop", "mail"), client))
		server := m.random("GET", dendro.KindServer)
		server.ParentID, server.End = client.SpanID, client.End-int64(time.Duration(m.IntN(int(time.Minute))))
		server.Start = min(server.Start, server.End)
		answered := m.IntN(2) == 0
		for _, a := range client.Attributes {
			switch a.Value.String() {
			case "mail":
				if answered {
					batches = append(batches, ofService("mail", server))
				}
			case "gateway":
				if answered {
					batches = append(batches, ofService(m.one("stock", "price"), server))
				}
			}
		}
		if len(client.Attributes) == 0 && answered {
			batches = append(batches, ofService("hidden", server))
		}
	}
	m.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })

	now := time.Now()
	table := operations.New(operations.Options{Now: func() time.Time { return now }})
	for _, b := range batches {
		table.Shard(0).Count(b.Resource, b.Spans)
	}
	now = now.Add(2 * time.Minute) // no call waits any more
	// Two collectors get the spans.
	dsn := testkit.ClickHouseDatabase(t)
	stores := []*Store{open(t, dsn, Options{}), open(t, dsn, Options{})}
	for i, half := range [][]*dendro.Batch{batches[:len(batches)/2], batches[len(batches)/2:]} {
		testkit.NoError(t, stores[i].Write(t.Context(), half))
	}

	whole := lastDay()
	minutes, hours, part := whole, whole, whole
	minutes.Step, hours.Step = time.Minute, time.Hour
	part.Start, part.End, part.Step = now.Add(-100*time.Minute), now.Add(-10*time.Minute), 7*time.Minute
	shop, get, none := hours, part, whole
	shop.Service, shop.Name = "shop", "query"
	get.Name = "a'b\\"
	none.Service = "nobody"
	for what, w := range map[string]collector.OperationScan{"whole": whole, "by minute": minutes, "by hour": hours, "a part": part, "of a service": shop, "of a name": get, "of no service": none} {
		testkit.Equal(t, "operations, "+what, operationsIn(t, stores[0], w), operationsIn(t, table, w))
	}
	whole.Service, minutes.Service = "", "mail"
	for what, w := range map[string]collector.OperationScan{"whole": whole, "of a service by minute": minutes, "by hour": hours, "of no service": none} {
		testkit.Equal(t, "edges, "+what, edgesIn(t, stores[1], w), edgesIn(t, table, w))
	}
	few, err := stores[0].edges(t.Context(), minutes, 100) // and not all with one query
	testkit.NoError(t, err)
	all, err := stores[0].edges(t.Context(), minutes, maxJoined)
	testkit.NoError(t, err)
	testkit.Equal(t, "edges, minutes apart", few, all)
	if n := len(edgesIn(t, table, whole)); n < 20 {
		t.Errorf("there are only %d edges", n)
	}
}

// exported is a row as OpenTelemetry's exporter writes it, with some of the columns.
type exported struct {
	Timestamp                       time.Time
	TraceID, SpanID, ParentSpanID   string
	TraceState, Name, Kind, Service string
	Attributes                      map[string]string
	Duration                        uint64
	Status                          string
}

// export inserts rows without this package. A token is that of deduplication; "" is none.
func export(t *testing.T, s *Store, token string, rows ...exported) {
	t.Helper()
	ctx := t.Context()
	if token != "" {
		ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
			"insert_deduplication_token": token, "deduplicate_blocks_in_dependent_materialized_views": 1,
		}))
	}
	b, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+s.t.traces()+
		" (Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, SpanAttributes, Duration, StatusCode)")
	testkit.NoError(t, err)
	for _, r := range rows {
		testkit.NoError(t, b.Append(r.Timestamp, r.TraceID, r.SpanID, r.ParentSpanID, r.TraceState, r.Name, r.Kind, r.Service, r.Attributes, r.Duration, r.Status))
	}
	testkit.NoError(t, b.Send())
}

// An insert never fails because its rows cannot be counted.
func TestOddRows(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now()
	var rows []exported
	for _, kind := range append(kindNames[:], "", "SPAN_KIND_CLIENT", "?") {
		for _, text := range []string{"", "\xff\x00'\\", strings.Repeat("ö", 10_000), "-1", "99999999999999999999999", "NaN"} {
			attributes := map[string]string{}
			for _, key := range []string{"db.system", "db.name", "net.peer.name", "net.peer.port", "server.port", "server.address", "peer.service", "messaging.destination.name", "messaging.system"} {
				attributes[key] = text
			}
			rows = append(rows, exported{now, text, text, text, text, text, kind, text, attributes, 1, text}, exported{now, "1", "2", "3", "ot=th:" + text, "x", kind, "x", nil, 1, "Error"})
		}
	}
	for i := range 80 { // a day each
		rows = append(rows, exported{time.Unix(int64(i)*86400, 0), "1", "2", "", "", "old", "Server", "x", nil, math.MaxUint64 >> i, ""})
	}
	for _, at := range []time.Time{time.Unix(-1<<30, 0), time.Unix(1<<33, 0)} {
		for _, d := range []uint64{0, math.MaxInt64, math.MaxUint64} {
			rows = append(rows, exported{at, "1", "2", "", "", "odd", "Server", "x", nil, d, ""})
		}
	}
	export(t, s, "", rows...)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", st.Spans, len(rows))
	w := lastDay()
	w.Step = time.Minute
	if len(operationsIn(t, s, w)) == 0 || len(edgesIn(t, s, w)) == 0 {
		t.Error("nothing was counted")
	}
}

// Old versions of OpenTelemetry's exporter have other names for kinds and statuses.
func TestOldNames(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	export(t, s, "", exported{Timestamp: time.Now(), TraceID: dendro.TraceID{1}.String(), SpanID: dendro.SpanID{1}.String(), Name: "GET", Kind: "SPAN_KIND_CLIENT", Service: "shop",
		Attributes: map[string]string{"db.system": "mysql", "db.name": "shop"}, Status: "STATUS_CODE_ERROR"})
	got, err := s.Trace(t.Context(), dendro.TraceID{1}, collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "span", fmt.Sprint(got.Spans[0].Kind, got.Spans[0].Status.Code), "client error")
	testkit.Equal(t, "operations", operationsIn(t, s, lastDay()), []string{`"shop" "GET" client: point -1: 1 spans, 1 errors 0:1; `})
	testkit.Equal(t, "edges", len(edgesIn(t, s, lastDay())), 1)
}

// A span that its sender sampled stands for others.
func TestWeights(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	states := []string{
		"", "a=1", "ot=rv:80000000000000", "ot=th:0", "ot=th:8", "ot=th:80", "ot=th:c", "ot=th:0000000000000f", "ot=th:ffffffffffffff", "a=1,ot=rv:8;th:c,b=2",
		"ot=th:8;th:c", "ot=th:C;th:c", "ot=th", "ot=th:", "ot=th:;x:y", "ot=th:C", "ot=th:c ;x:y", "ot=th:0xc", "ot=th:-c", "ot=th:c0000000000000", "ot=th:c00000000000000",
		"ot=xth:c", "ot=x:th:c", "ot=TH:c", "other=th:c", "t@ot=th:c", "ot=th:ffffef39", "ot=th:aaab", " ot=th:8 \t, a=1", "a=1 ,\tot=th:8", "ot=th:8,ot=th:c",
	}
	rows := make([]exported, len(states))
	want := make([]string, len(states))
	for i, text := range states {
		state, err := dendro.ParseTraceState(text)
		testkit.NoError(t, err)
		rows[i] = exported{Timestamp: time.Now(), TraceState: text, Name: fmt.Sprintf("%02d", i), Kind: "Server"}
		want[i] = fmt.Sprintf("%02d %q %v", i, text, min(state.AdjustedCount(), 1<<20))
	}
	export(t, s, "", rows...)
	var got []string
	testkit.NoError(t, s.Operations(t.Context(), lastDay(), func(o *collector.Operation) bool {
		got = append(got, fmt.Sprintf("%s %q %v", o.Name, states[len(got)], o.Total.Spans))
		return true
	}))
	testkit.Equal(t, "weights", got, want)
}

// ClickHouse finds the same bucket of a duration as package collector, to the nanosecond.
func TestBuckets(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	durations := map[uint64]bool{0: true, math.MaxInt64: true, 1 << 63: true, math.MaxUint64: true}
	for i := range collector.MaxBucket {
		bound := uint64(collector.BucketBound(i))
		for _, d := range []uint64{bound - 1, bound, bound + 1, 1<<(i%63) - 1, 1 << (i % 63), 1<<(i%63) + 1, rand.Uint64() >> (i % 64)} {
			durations[d] = true
		}
	}
	var rows []exported
	want := map[string]string{}
	for d := range durations {
		name := fmt.Sprint(d)
		rows = append(rows, exported{Timestamp: time.Now(), Name: name, Kind: "Server", Duration: d})
		want[name] = fmt.Sprint(collector.BucketOf(time.Duration(min(d, math.MaxInt64))), " ")
	}
	export(t, s, "", rows...)
	got := map[string]string{}
	testkit.NoError(t, s.Operations(t.Context(), lastDay(), func(o *collector.Operation) bool {
		for bucket := range o.Total.Durations.Buckets() {
			got[o.Name] += fmt.Sprint(bucket, " ")
		}
		return true
	}))
	testkit.Equal(t, "buckets", got, want)
}

// A span counts in the minute in which it ended, or in the current one if that is in the future. If it ended more
// than a day ago, it is late.
func TestClocks(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now()
	const hour = 3600 * uint64(time.Second)
	export(t, s, "",
		exported{Timestamp: now.Add(-25 * time.Hour), Name: "long", Kind: "Server", Duration: 23 * hour},
		exported{Timestamp: now.Add(-25 * time.Hour), Name: "late", Kind: "Server", Duration: hour / 2},
		exported{Timestamp: now.Add(-25 * time.Hour), Name: "late", Kind: "Client", TraceID: "1", SpanID: "2", Attributes: map[string]string{"server.address": "db", "db.system": "mysql"}},
		exported{Timestamp: now.Add(time.Hour), Name: "future", Kind: "Server"},
		exported{Timestamp: now, Name: "future", Kind: "Server", Duration: 100 * hour})
	counted := map[string]float64{}
	read := func(what string, start, end time.Time) {
		testkit.NoError(t, s.Operations(t.Context(), collector.OperationScan{Start: start, End: end}, func(o *collector.Operation) bool {
			counted[what+o.Name] = o.Total.Spans
			return true
		}))
	}
	read("now: ", now, time.Now().Add(time.Second))
	read("before: ", now.Add(-121*time.Minute), now.Add(-119*time.Minute))
	read("all: ", now.Add(-100*time.Hour), now.Add(200*time.Hour))
	testkit.Equal(t, "spans", counted, map[string]float64{"now: future": 2, "before: long": 1, "all: long": 1, "all: future": 2})
	testkit.Equal(t, "edges", edgesIn(t, s, collector.OperationScan{Start: now.Add(-100 * time.Hour), End: now}), []string(nil))
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "late", st.Operations.Late, uint64(2))
	if st.Operations.Bytes <= 0 {
		t.Errorf("the counts take %d bytes", st.Operations.Bytes)
	}
}

// An insert that is repeated counts once. Equal inserts that are not the same count twice.
func TestRetriesCountOnce(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now().Add(-10 * time.Minute)
	client := exported{Timestamp: now, TraceID: "1", SpanID: "2", Name: "GET", Kind: "Client", Service: "shop"}
	server := exported{Timestamp: now, TraceID: "1", SpanID: "3", ParentSpanID: "2", Name: "GET", Kind: "Server", Service: "mail"}
	query := exported{Timestamp: now, TraceID: "1", SpanID: "4", Name: "SELECT", Kind: "Client", Service: "shop", Attributes: map[string]string{"db.system.name": "mysql"}}
	peer := exported{Timestamp: now, TraceID: "1", SpanID: "5", Name: "GET", Kind: "Client", Service: "shop", Attributes: map[string]string{"server.address": "elsewhere"}}
	counts := func() map[string]float64 {
		out := map[string]float64{}
		testkit.NoError(t, s.Operations(t.Context(), lastDay(), func(o *collector.Operation) bool {
			out[o.Service+" "+o.Name] += o.Total.Spans
			return true
		}))
		testkit.NoError(t, s.Edges(t.Context(), lastDay(), func(e *collector.Edge) bool {
			out[fmt.Sprint(e.Client.Name, " to ", e.Server.Kind)] += e.Total.Spans
			return true
		}))
		return out
	}
	for range 3 {
		export(t, s, "token", client, server, query, peer)
	}
	testkit.Equal(t, "once", counts(), map[string]float64{"shop GET": 2, "mail GET": 1, "shop SELECT": 1, "shop to service": 1, "shop to database": 1, "shop to peer": 1})
	export(t, s, "other token", query)
	testkit.Equal(t, "with another token", counts()["shop SELECT"], 2.0)
	for range 2 {
		q := query
		q.TraceID = fmt.Sprint(rand.Uint64())
		export(t, s, "", q)
	}
	testkit.Equal(t, "without a token", counts(), map[string]float64{"shop GET": 2, "mail GET": 1, "shop SELECT": 4, "shop to service": 1, "shop to database": 4, "shop to peer": 1})
}

// A call without an answer is not counted before its answer can have come.
func TestCallsWait(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	attributes := map[string]string{"server.address": "mail", "server.port": "80"}
	export(t, s, "", exported{Timestamp: time.Now(), TraceID: "1", SpanID: "1", Kind: "Client", Service: "shop", Attributes: attributes})
	read := func() (out []string) {
		testkit.NoError(t, s.Edges(t.Context(), lastDay(), func(e *collector.Edge) bool {
			out = append(out, fmt.Sprint(e.Client, e.Server, e.Total.Spans))
			return true
		}))
		return out
	}
	testkit.Equal(t, "at once", read(), []string(nil))
	before := time.Now().Add(-2 * time.Minute)
	export(t, s, "", exported{Timestamp: before, TraceID: "1", SpanID: "2", Kind: "Client", Service: "shop", Attributes: attributes})
	testkit.Equal(t, "after its minute", read(), []string{"{service shop } {peer mail:80 } 1"})
	export(t, s, "",
		exported{Timestamp: before, TraceID: "1", SpanID: "3", Kind: "Client", Service: "shop", Attributes: attributes},
		// It takes longer than the client waits.
		exported{Timestamp: before, TraceID: "1", SpanID: "4", ParentSpanID: "3", Kind: "Server", Service: "mail", Duration: uint64(100 * time.Second)})
	testkit.Equal(t, "when another call was answered", read(), []string{"{service shop } {service mail } 2"})
}

// There are no counts if the tables of others have none.
func TestNoCounts(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	s := open(t, dsn, Options{})
	for _, suffix := range []string{suffixCounted + suffixView, suffixCalls} {
		testkit.NoError(t, s.conn.Exec(t.Context(), "DROP TABLE "+s.t.of(suffix)))
	}
	s = open(t, dsn, Options{ExistingTables: true})
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{ofService("shop", (&made{}).span("GET", dendro.KindServer, 0, time.Second))}))
	testkit.Equal(t, "operations", operationsIn(t, s, lastDay()), []string(nil))
	testkit.Equal(t, "edges", edgesIn(t, s, lastDay()), []string(nil))
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "stats", st.Operations, collector.OperationStats{})
}

func TestOddScans(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now()
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{ofService("shop", (&made{}).span("GET", dendro.KindServer, 0, time.Second))}))
	for _, w := range []collector.OperationScan{
		{}, {Start: now}, {Start: now, End: now.Add(-time.Hour)}, {End: time.Unix(1<<40, 0)}, {Start: now.Add(-time.Hour), End: now, Step: math.MaxInt64}, {Start: now, End: now, Step: -1},
		{Start: time.Unix(-1<<40, 0), End: time.Unix(1<<40, 0), Step: time.Hour * 24 * 365 * 100}, {Start: time.Unix(math.MinInt64, 0), End: time.Unix(math.MaxInt64, 0)},
		{Start: now, End: now.Add(time.Minute), Service: "'{p0:Int64}\\", Name: "\x00\xff'"},
	} {
		operationsIn(t, s, w)
		edgesIn(t, s, w)
	}
	w := collector.OperationScan{Start: now.Add(-50 * 365 * 24 * time.Hour), End: now, Step: time.Minute}
	for what, err := range map[string]error{"operations": s.Operations(t.Context(), w, nil), "edges": s.Edges(t.Context(), w, nil)} {
		if !errors.Is(err, collector.ErrTooManyPoints) {
			t.Errorf("%s of fifty years by the minute: %v", what, err)
		}
	}
}

func TestCountsStop(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	m := &made{}
	kafka := []slog.Attr{slog.String("messaging.destination.name", "orders")}
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{ofService("shop", m.span("send", dendro.KindProducer, 0, time.Second, kafka...), m.span("process", dendro.KindConsumer, 0, time.Second, kafka...))}))
	ctx, cancel := context.WithCancel(t.Context())
	visited := 0
	testkit.NoError(t, s.Operations(ctx, lastDay(), func(*collector.Operation) bool { visited++; return false }))
	testkit.NoError(t, s.Edges(ctx, lastDay(), func(*collector.Edge) bool { visited++; return false }))
	testkit.Equal(t, "visited", visited, 2)
	stopped := s.Operations(ctx, lastDay(), func(*collector.Operation) bool { visited++; cancel(); return true })
	testkit.Equal(t, "visited", visited, 3)
	for what, err := range map[string]error{"after the first": stopped, "operations": s.Operations(ctx, lastDay(), nil), "edges": s.Edges(ctx, lastDay(), nil)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The largest operations and edges are kept apart. All others are one.
func TestOthers(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	now := time.Now()
	var rows []exported
	for i := range maxKept + 50 {
		row := exported{Timestamp: now, Name: fmt.Sprint("op ", i), Kind: "Client", Service: "shop", Attributes: map[string]string{"db.system": "mysql", "db.name": fmt.Sprint(i)}}
		rows = append(rows, row)
		if i >= 50 {
			rows = append(rows, row)
		}
	}
	export(t, s, "", rows...)
	var kept, other []float64
	sort := func(isOther bool, c *collector.Counts) {
		if isOther {
			other = append(other, c.Spans)
		} else {
			kept = append(kept, c.Spans)
		}
	}
	testkit.NoError(t, s.Operations(t.Context(), lastDay(), func(o *collector.Operation) bool { sort(o.Other, &o.Total); return true }))
	testkit.Equal(t, "kept", kept, slices.Repeat([]float64{2}, maxKept))
	testkit.Equal(t, "others", other, []float64{50})
	kept, other = nil, nil
	testkit.NoError(t, s.Edges(t.Context(), lastDay(), func(e *collector.Edge) bool { sort(e.Other, &e.Total); return true }))
	testkit.Equal(t, "edges kept", kept, slices.Repeat([]float64{2}, maxKept))
	testkit.Equal(t, "other edges", other, []float64{50})
}
