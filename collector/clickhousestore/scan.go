package clickhousestore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro/collector"
)

const (
	// firstWindow is the time of the first window of a scan, and maxWindow that of the longest, in seconds.
	firstWindow = 2
	maxWindow   = 30 * 24 * 3600
	// windowTraces is about the number of traces in a window that is not made longer.
	windowTraces = 1000
	// firstFetch and maxFetch are the numbers of traces that are read together, at first and at most.
	firstFetch = 50
	maxFetch   = 3200
	// fetchSpans is the number of spans that are read together without reading fewer traces the next time.
	fetchSpans = 100_000
	// memoryLimitExceeded is ClickHouse's code of the error.
	memoryLimitExceeded = 241
	// longestTrace is how long after the start of a trace a scan looks for a span that agrees with hints.
	longestTrace = time.Hour
)

// Scan implements [collector.Reader]. It goes from the newest traces to the oldest in windows of time. In each it
// asks ClickHouse which traces have spans that agree with the hints, and then reads those that begin in the window. It may
// miss a trace that begins in the range if what agrees with the hints begins more than an hour after the range,
// and a trace that began before 1970 or after 2106.
func (s *Store) Scan(ctx context.Context, q collector.Scan, visit func(*collector.Trace) bool) error {
	s.settle(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	var first, last int64
	var n uint64
	err := s.row(ctx, "SELECT toUnixTimestamp64Nano(min(Timestamp)), toUnixTimestamp64Nano(max(Timestamp)), count() FROM "+s.t.traces(), nil, &first, &last, &n)
	if err != nil || n == 0 {
		return err
	}
	sc := &scanner{s: s, q: q, visit: visit, fetch: firstFetch, later: map[string]candidate{}, start: math.MinInt64, end: math.MaxInt64}
	if !q.Start.IsZero() {
		sc.start = q.Start.Unix()
	}
	if !q.End.IsZero() {
		sc.end = q.End.Unix()
	}
	sc.choose()
	low, high := max(sc.start, floorSecond(first)), floorSecond(last)+1
	if sc.end < math.MaxInt64-int64(longestTrace/time.Second) {
		high = min(high, sc.end+1)
		if sc.main != nil {
			high = min(floorSecond(last)+1, sc.end+1+int64(longestTrace/time.Second))
		}
	}
	sc.low, sc.high = low, floorSecond(last)+1
	if sc.main != nil && !sc.main.StartsAfter.IsZero() {
		low = max(low, sc.main.StartsAfter.Unix())
	}
	for width := int64(firstWindow); high > low && !sc.stopped; {
		from := max(low, high-width)
		more, err := sc.window(ctx, from, high)
		if err != nil {
			return err
		}
		switch {
		case more > from: // there are too many traces in the window
			width = max(1, high-more)
			from = more
		case sc.found < windowTraces/4:
			if sc.found == 0 && width == maxWindow { // clocks may be wrong by years
				if from, err = s.before(ctx, from); err != nil {
					return err
				}
			}
			width = min(4*width, maxWindow)
		}
		high = from
	}
	if !sc.stopped {
		// What is left began before the first window: it has spans after that.
		return sc.visitFrom(ctx, math.MinInt64, nil)
	}
	return nil
}

// before returns the second after that of the newest span before a second, or a second before all.
func (s *Store) before(ctx context.Context, second int64) (newest int64, err error) {
	var p params
	var n uint64
	err = s.row(ctx, "SELECT toUnixTimestamp64Nano(max(Timestamp)), count() FROM "+s.t.traces()+" WHERE Timestamp < "+p.time(nanos(second)), p, &newest, &n)
	if n == 0 {
		return math.MinInt64, err
	}
	return min(floorSecond(newest)+1, second), err
}

// floorSecond returns the second that a time in nanoseconds is in.
func floorSecond(nanos int64) int64 {
	s := nanos / int64(time.Second)
	if nanos%int64(time.Second) < 0 {
		s--
	}
	return s
}

// scanner is a scan that is going on.
type scanner struct {
	s          *Store
	q          collector.Scan
	visit      func(*collector.Trace) bool
	start, end int64 // bounds of the start of a trace, in seconds
	low, high  int64 // bounds of the start of its spans
	main       *collector.SpanHints
	others     []*collector.SpanHints
	fetch      int
	later      map[string]candidate // traces that were found and begin before the window
	found      int                  // in the last window
	stopped    bool
}

// choose chooses the hints that few spans agree with.
func (sc *scanner) choose() {
	for i := range sc.q.Hints.Spans {
		h := &sc.q.Hints.Spans[i]
		switch {
		case sc.main == nil:
			sc.main = h
		case selective(h) > selective(sc.main) && sc.main.StartsAfter.IsZero() || !h.StartsAfter.IsZero() && sc.main.StartsAfter.IsZero():
			sc.others, sc.main = append(sc.others, sc.main), h
		default:
			sc.others = append(sc.others, h)
		}
	}
}

// candidate is a trace with a span in a window.
type candidate struct {
	id    string
	at    int64   // second of the span, or of the trace if sure is set
	times seconds // of the trace, if sure is set
	sure  bool
}

// window visits the traces that begin from one second to before another. It returns from, or a later second
// if there are so many that only those from then on were visited.
func (sc *scanner) window(ctx context.Context, from, to int64) (visited int64, err error) {
	var p params
	span := func(h *collector.SpanHints, from, to int64) string {
		all := []string{"TraceId != ''", "Timestamp >= " + p.time(nanos(from)), "Timestamp < " + p.time(nanos(to))}
		if h != nil {
			if text := sc.s.t.where(h, &p); text != "" {
				all = append(all, text)
			}
		}
		return strings.Join(all, " AND ")
	}
	condition := span(sc.main, from, to)
	for _, h := range sc.others {
		condition += " AND TraceId IN (SELECT TraceId FROM " + sc.s.t.traces() + " WHERE " + span(h, sc.low, sc.high) + ")"
	}
	limit := ""
	if to-from > 1 { // a window cannot be shorter
		limit = " LIMIT " + p.int(2*windowTraces+1)
	}
	text := "SELECT TraceId, toUnixTimestamp64Nano(min(Timestamp)) AS start FROM " + sc.s.t.traces() + " WHERE " + condition +
		" GROUP BY TraceId ORDER BY start DESC, TraceId" + limit
	var found []candidate
	err = sc.s.each(ctx, text, p, func(rows driver.Rows) error {
		var c candidate
		var start int64
		err := rows.Scan(&c.id, &start)
		c.at = floorSecond(start)
		found = append(found, c)
		return err
	})
	if err != nil {
		return 0, err
	}
	sc.found = len(found)
	if limit != "" && len(found) > 2*windowTraces {
		if found[len(found)-1].at == to-1 { // all of its last second, which others may be in
			return sc.window(ctx, to-1, to)
		}
		from = max(from, min(found[len(found)-1].at+1, to-1))
		found = slices.DeleteFunc(found, func(c candidate) bool { return c.at < from })
	}
	return from, sc.visitFrom(ctx, from, found)
}

// nanos returns a second in nanoseconds, saturated.
func nanos(second int64) int64 {
	const most = math.MaxInt64 / int64(time.Second)
	return min(max(second, -most), most) * int64(time.Second)
}

// visitFrom visits those of the traces that were found, now and before, that begin from a second on. It keeps the others.
// The order of those that are read together is exact.
func (sc *scanner) visitFrom(ctx context.Context, from int64, found []candidate) error {
	found = slices.DeleteFunc(found, func(c candidate) bool { _, known := sc.later[c.id]; return known })
	for id, c := range sc.later {
		if c.at >= from {
			found = append(found, c)
			delete(sc.later, id)
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.at, a.at), strings.Compare(a.id, b.id))
	})
	for len(found) > 0 && !sc.stopped {
		n := min(sc.fetch, len(found))
		now, err := sc.begun(ctx, from, found[:n])
		if err != nil {
			return err
		}
		found = found[n:]
		if err = sc.readAll(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// begun returns those of some traces that begin from a second on and are wanted. It keeps those that begin before.
func (sc *scanner) begun(ctx context.Context, from int64, found []candidate) (now []candidate, err error) {
	var ids []string
	for _, c := range found {
		if !c.sure {
			ids = append(ids, c.id)
		}
	}
	times := map[string]seconds{}
	if len(ids) > 0 {
		if times, err = sc.s.times(ctx, ids); err != nil {
			return nil, err
		}
	}
	for _, c := range found {
		if of, ok := times[c.id]; ok {
			c.at, c.times, c.sure = of.start, of, true
		}
		switch {
		case !c.sure: // ClickHouse has removed it meanwhile
		case c.at < from:
			sc.later[c.id] = c
		case c.at >= sc.start && c.at <= sc.end:
			now = append(now, c)
		}
	}
	return now, nil
}

// readAll visits traces, as many together as ClickHouse has memory for.
func (sc *scanner) readAll(ctx context.Context, now []candidate) error {
	for len(now) > 0 && !sc.stopped {
		n := min(sc.fetch, len(now))
		spans, err := sc.read(ctx, now[:n])
		var exception *clickhouse.Exception
		switch {
		case err == nil && spans < fetchSpans:
			sc.fetch = min(2*sc.fetch, maxFetch)
		case err == nil:
			sc.fetch = max(sc.fetch/2, 1)
		case errors.As(err, &exception) && exception.Code == memoryLimitExceeded && spans == 0 && n > 1:
			sc.fetch = n / 2
			continue
		default:
			return err
		}
		now = now[n:]
	}
	return nil
}

// read visits traces, and returns the number of their spans.
func (sc *scanner) read(ctx context.Context, now []candidate) (spans int, err error) {
	ids, times := make([]string, len(now)), map[string]seconds{}
	for i, c := range now {
		ids[i], times[c.id] = c.id, c.times
	}
	err = sc.s.fetch(ctx, ids, times, sc.q, func(t *collector.Trace) bool {
		spans += len(t.Spans)
		sc.stopped = !sc.visit(t)
		return !sc.stopped
	})
	return spans, err
}
