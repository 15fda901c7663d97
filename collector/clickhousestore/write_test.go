package clickhousestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// rowsOf returns the number of rows, and of different spans, in the table.
func rowsOf(t *testing.T, s *Store) (rows, spans int) {
	t.Helper()
	var all, different uint64
	testkit.NoError(t, s.row(t.Context(), "SELECT count(), uniqExact(TraceId, SpanId, Timestamp) FROM "+s.t.traces(), nil, &all, &different))
	return int(all), int(different)
}

// A client that has not seen an answer sends the request to another collector, which writes it together with others.
func TestSentToAnother(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	now := time.Now()
	first, another := open(t, dsn, Options{}), open(t, dsn, Options{})
	testkit.NoError(t, first.Write(t.Context(), []*dendro.Batch{request(1, now)}))
	half := request(3, now)
	half.Spans = half.Spans[:requestSpans/2]
	testkit.NoError(t, first.Write(t.Context(), []*dendro.Batch{half}))
	for range 2 {
		testkit.NoError(t, another.Write(t.Context(), []*dendro.Batch{request(2, now), request(1, now)}))
		testkit.NoError(t, another.Write(t.Context(), []*dendro.Batch{request(3, now)}))
		testkit.NoError(t, another.Write(t.Context(), []*dendro.Batch{request(1, now)}))
	}
	got, spans := rowsOf(t, another)
	// The first span of the second request is new, so nobody looks for the others. Readers see them once.
	testkit.Equal(t, "spans", spans, 3*requestSpans)
	testkit.Equal(t, "rows", got, 4*requestSpans)
	for n := range 3 {
		trace, err := another.Trace(t.Context(), request(n+1, now).Spans[0].TraceID, collector.TimeRange{})
		testkit.NoError(t, err)
		testkit.Equal(t, "spans of a trace", len(trace.Spans), requestSpans)
	}
}

// proxy returns the DSN of a server in front of that of a DSN. insert is called with each insert that arrives, and
// with what passes it on.
func proxy(t *testing.T, dsn string, insert func(w http.ResponseWriter, pass func(w http.ResponseWriter))) string {
	t.Helper()
	u, err := url.Parse(dsn)
	testkit.NoError(t, err)
	if u.Scheme != "http" {
		t.Skip("only HTTP can be intercepted")
	}
	target := u.Host
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		pass := func(w http.ResponseWriter) {
			out := r.Clone(context.WithoutCancel(r.Context()))
			out.RequestURI, out.URL.Scheme, out.URL.Host, out.Body = "", "http", target, io.NopCloser(bytes.NewReader(body))
			res, err := http.DefaultTransport.RoundTrip(out)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			defer res.Body.Close()
			for key, values := range res.Header {
				w.Header()[key] = values
			}
			w.WriteHeader(res.StatusCode)
			_, _ = io.Copy(w, res.Body)
		}
		if strings.HasPrefix(r.URL.Query().Get("query"), "INSERT") {
			insert(w, pass)
			return
		}
		pass(w)
	}))
	t.Cleanup(server.Close)
	u.Host = strings.TrimPrefix(server.URL, "http://")
	return u.String()
}

// ClickHouse has written spans, and the answer was lost.
func TestAnswerLost(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	var inserts atomic.Int64
	s := open(t, proxy(t, dsn, func(w http.ResponseWriter, pass func(http.ResponseWriter)) {
		if inserts.Add(1) > 1 {
			pass(w)
			return
		}
		pass(httptest.NewRecorder())
		panic(http.ErrAbortHandler)
	}), Options{})
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{request(1, time.Now())}))
	rows, _ := rowsOf(t, s)
	testkit.Equal(t, "rows", rows, requestSpans)
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	testkit.Equal(t, "duplicates", st.Duplicates, uint64(0))
}

// An insert that seems to have failed is written after all, when it is being tried again. ClickHouse recognizes the token.
func TestInsertedLate(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	late := make(chan func(), 1)
	var inserts atomic.Int64
	s := open(t, proxy(t, dsn, func(w http.ResponseWriter, pass func(http.ResponseWriter)) {
		if inserts.Add(1) == 1 {
			late <- func() { pass(httptest.NewRecorder()) }
			http.Error(w, "timeout", http.StatusGatewayTimeout)
			return
		}
		(<-late)()
		pass(w)
	}), Options{})
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{request(1, time.Now())}))
	rows, _ := rowsOf(t, s)
	testkit.Equal(t, "inserts", inserts.Load(), int64(2))
	testkit.Equal(t, "rows", rows, requestSpans)
}

// What cannot be written is not acknowledged. When the client sends it again, it is not a duplicate.
func TestRefused(t *testing.T) {
	var refuse atomic.Bool
	refuse.Store(true)
	s := open(t, proxy(t, testkit.ClickHouseDatabase(t), func(w http.ResponseWriter, pass func(http.ResponseWriter)) {
		if refuse.Load() {
			http.Error(w, "Code: 252. DB::Exception: Too many parts", http.StatusInternalServerError)
			return
		}
		pass(w)
	}), Options{})
	now := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error)
	go func() { refused <- s.Write(ctx, []*dendro.Batch{request(1, now)}) }()
	err := s.Write(t.Context(), []*dendro.Batch{request(2, now)})
	if err == nil || !strings.Contains(err.Error(), "Too many parts") {
		t.Fatalf("the error is %v, want that of ClickHouse", err)
	}
	cancel()
	if err := <-refused; err == nil {
		t.Fatal("spans were acknowledged")
	}
	refuse.Store(false)
	for n := 1; n <= 2; n++ {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{request(n, now)}))
	}
	rows, _ := rowsOf(t, s)
	testkit.Equal(t, "rows", rows, 2*requestSpans)
}

// While too much waits for ClickHouse, Write waits and Collect drops spans.
func TestQueueFull(t *testing.T) {
	pause := make(chan struct{})
	s := open(t, proxy(t, testkit.ClickHouseDatabase(t), func(w http.ResponseWriter, pass func(http.ResponseWriter)) {
		<-pause
		pass(w)
	}), Options{MaxQueueBytes: 1})
	now := time.Now()
	testkit.NoError(t, s.Collect(request(1, now)))
	drop := (*dendro.DropError)(nil)
	if err := s.Collect(request(2, now)); !errors.As(err, &drop) || drop.Reason != "queue_full" {
		t.Fatalf("the error is %v, want queue_full", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, []*dendro.Batch{request(2, now)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the error is %v, want that of the context", err)
	}
	close(pause)
	testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{request(2, now)}))
	rows, _ := rowsOf(t, s)
	testkit.Equal(t, "rows", rows, 2*requestSpans)
}

// ClickHouse refuses an insert with spans of more than a hundred days.
func TestManyDays(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	var batches []*dendro.Batch
	const days = maxDays + 5
	for n := range days {
		batches = append(batches, request(n, time.Unix(1_700_000_000, 0).Add(time.Duration(n)*24*time.Hour)))
	}
	rejected := (*collector.RejectedError)(nil)
	if err := s.Write(t.Context(), batches); !errors.As(err, &rejected) || rejected.Spans != 5*requestSpans {
		t.Fatalf("the error is %v, want %d spans rejected", err, 5*requestSpans)
	}
	for n, b := range batches[days-5:] {
		testkit.NoError(t, s.Write(t.Context(), []*dendro.Batch{b}))
		trace, err := s.Trace(t.Context(), b.Spans[0].TraceID, collector.TimeRange{})
		testkit.NoError(t, err)
		testkit.Equal(t, fmt.Sprint("spans of day ", n), len(trace.Spans), requestSpans)
	}
}

// Spans are found whose times the view has not written, because ClickHouse was killed before.
func TestTimesMissing(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	s := open(t, dsn, Options{})
	span := spanAt(1, 1, "span", time.Now())
	write(t, s, span)
	testkit.NoError(t, s.conn.Exec(t.Context(), "TRUNCATE TABLE "+s.t.traceIDs()))
	another := open(t, dsn, Options{})
	write(t, another, span) // as a client does that has no answer
	got, err := another.Trace(t.Context(), span.TraceID, collector.TimeRange{})
	testkit.NoError(t, err)
	testkit.Equal(t, "spans", len(got.Spans), 1)
	testkit.Equal(t, "traces", visits(t, another, collector.Scan{}), map[int]int{1: 1})
}

// A try that fails in a view is written again, and then the view has the spans.
func TestViewFails(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	run := func(statement string) { t.Helper(); testkit.NoError(t, s.conn.Exec(t.Context(), statement)) }
	ids, aside := s.t.traceIDs(), s.t.of("_aside")
	run("RENAME TABLE " + ids + " TO " + aside) // the view has no table
	written := make(chan error)
	go func() {
		written <- s.Write(t.Context(), []*dendro.Batch{{Spans: []*dendro.SpanData{spanAt(1, 1, "span", time.Now())}}})
	}()
	waitFor(t, func() bool { return s.Metrics().Failures > 0 })
	run("RENAME TABLE " + aside + " TO " + ids)
	testkit.NoError(t, <-written)
	var spans, times uint64
	testkit.NoError(t, s.row(t.Context(), "SELECT count() FROM "+s.t.traces(), nil, &spans))
	testkit.NoError(t, s.row(t.Context(), "SELECT count() FROM "+ids, nil, &times))
	testkit.Equal(t, "spans", spans, uint64(1))
	testkit.Equal(t, "times", times, uint64(1))
}

// Names are of any length, and one request does not make those of others fail.
func TestLongNames(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	var spans []*dendro.SpanData
	for n := range 300 {
		spans = append(spans, spanAt(n+1, n+1, strings.Repeat(fmt.Sprint(n), 2000), time.Now()))
	}
	spans = append(spans, spanAt(1000, 1000, strings.Repeat("long", 1<<19), time.Now()))
	for _, o := range []*Store{s, open(t, testkit.ClickHouseDatabase(t), Options{})} {
		write(t, o, spans...)
		rows, _ := rowsOf(t, o)
		testkit.Equal(t, "rows", rows, len(spans))
	}
}

// Queries that take long leave connections to those who write.
func TestReadersLeaveRoom(t *testing.T) {
	s := open(t, testkit.ClickHouseDatabase(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			_ = s.each(ctx, "SELECT sleepEachRow(0.1) FROM numbers(1000) SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 1000000000", nil,
				func(driver.Rows) error { return nil })
		})
	}
	waitFor(t, func() bool { return s.conn.Stats().Open == s.conn.Stats().MaxOpenConns })
	write(t, s, spanAt(1, 1, "span", time.Now()))
	cancel()
	readers.Wait()
}
