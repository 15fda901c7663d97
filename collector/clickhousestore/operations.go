package clickhousestore

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

const (
	// callWait is how long after its minute a call without an answer is one of a peer.
	callWait = 30 * time.Second
	// answerMargin is the number of minutes before and after a call in which its answer may be.
	answerMargin = 2
	// maxJoined bounds the number of calls and answers that a query joins, if they are of more than one
	// minute. ClickHouse takes about 100 bytes for an answer.
	maxJoined = 10_000_000
	// otherKind is the kind of the operation that has those that a process did not keep apart.
	otherKind = "Other"
	// maxKept is the number of operations, and of edges, that are kept apart in an answer.
	maxKept = 2000
)

// Operations implements [collector.OperationReader]. Views of the table with the spans count what is
// inserted, by whomever. Counts are kept for as long as spans are. There are none if their tables are missing.
func (s *Store) Operations(ctx context.Context, w collector.OperationScan, visit func(*collector.Operation) bool) error {
	if none, err := s.noCounts(ctx, w); none || err != nil {
		return err
	}
	var p params
	start, end := w.Minutes()
	where := minutes(start, end, &p)
	if w.Service != "" {
		where += " AND ServiceName = " + p.text(w.Service)
	}
	if w.Name != "" {
		where += " AND SpanName = " + p.text(w.Name)
	}
	const name, columns = "(ServiceName, SpanName, SpanKind)", "Other, Service, Name, Kind, Point"
	from := " FROM " + s.t.of(suffixOperations) + " WHERE " + where
	text := "SELECT SpanKind = '" + otherKind + "' OR " + name + " NOT IN (SELECT " + name + from + " GROUP BY ALL ORDER BY sum(Spans) DESC LIMIT " + p.int(maxKept) + ") AS Other," +
		" if(Other, '', ServiceName) AS Service, if(Other, '', SpanName) AS Name," +
		" toUInt8(if(Other, 0, greatest(indexOf(" + p.texts(kindNames[:]) + ", SpanKind), 1) - 1)) AS Kind, " +
		point(w, &p) + " AS Point, " + sums + from + " GROUP BY " + columns + " ORDER BY Service, Name, Kind, Other, Point"
	type key struct {
		other         uint8
		service, name string
		kind          uint8
	}
	var current key
	c := newCounted(w)
	stopped := false
	visitCurrent := func() {
		stopped = c.total.Spans > 0 && !visit(&collector.Operation{
			Service: current.service, Name: current.name, Kind: dendro.Kind(current.kind), Other: current.other != 0, Total: c.total, Points: c.points,
		})
	}
	err := s.each(ctx, text, p, func(rows driver.Rows) error {
		var k key
		row, err := scanCounts(rows, &k.other, &k.service, &k.name, &k.kind)
		if err != nil {
			return err
		}
		if k != current {
			if visitCurrent(); stopped {
				return errStop
			}
			c.reset()
			current = k
		}
		c.add(&row)
		return nil
	})
	if err == nil && !stopped {
		visitCurrent()
	}
	return err
}

// Edges implements [collector.OperationReader]. What one span alone says is counted when it is inserted. The
// two sides of a call between services may come to different collectors, so they are joined now. A call without an
// answer counts 30 seconds after its minute.
func (s *Store) Edges(ctx context.Context, w collector.OperationScan, visit func(*collector.Edge) bool) error {
	if none, err := s.noCounts(ctx, w); none || err != nil {
		return err
	}
	found, err := s.edges(ctx, w, maxJoined)
	if err != nil {
		return err
	}
	of := service(w.Service)
	c := newCounted(w)
	for _, e := range slices.SortedFunc(maps.Keys(found), compareEdges) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if of.Name != "" && e.client != of && e.server != of {
			continue
		}
		c.reset()
		for point, counts := range found[e] {
			c.add(&countRow{point, *counts})
		}
		if !visit(&collector.Edge{Client: e.client, Server: e.server, Other: e == edge{}, Total: c.total, Points: c.points}) {
			return nil
		}
	}
	return nil
}

// edge is who calls whom. The zero value is all edges that are not kept apart.
type edge struct{ client, server collector.Node }

// edges are what was counted of edges, by point.
type edges map[edge]map[int64]*collector.Counts

// add adds what was counted of an edge, if anything was.
func (es edges) add(e edge, point int64, c *collector.Counts) {
	if c.Spans == 0 {
		return
	}
	if es[e] == nil {
		if len(es) >= maxKept {
			e = edge{}
		}
		if es[e] == nil {
			es[e] = map[int64]*collector.Counts{}
		}
	}
	if es[e][point] == nil {
		es[e][point] = &collector.Counts{}
	}
	es[e][point].Merge(c)
}

func service(name string) collector.Node {
	return collector.Node{Kind: collector.NodeService, Name: name}
}

func compareEdges(a, b edge) int {
	return cmp.Or(a.client.Compare(b.client), a.server.Compare(b.server))
}

// edges returns all edges. It joins at most so many calls and answers at a time, if they are of more than one minute.
func (s *Store) edges(ctx context.Context, w collector.OperationScan, maxJoined uint64) (edges, error) {
	found, unanswered := edges{}, edges{}
	var p params
	start, end := w.Minutes()
	const nodes = "ClientKind, ClientName, ClientSystem, ServerKind, ServerName, ServerSystem"
	text := "SELECT " + nodes + ", " + point(w, &p) + " AS Point, " + sums + " FROM " + s.t.of(suffixEdges) +
		" WHERE " + minutes(start, end, &p) + " GROUP BY " + nodes + ", Point ORDER BY sum(Spans) DESC"
	err := s.each(ctx, text, p, func(rows driver.Rows) error {
		var client, server collector.Node
		row, err := scanCounts(rows, (*string)(&client.Kind), &client.Name, &client.System, (*string)(&server.Kind), &server.Name, &server.System)
		if err != nil {
			return err
		}
		to := found
		if server.Kind == collector.NodePeer { // a process says so
			to = unanswered
		}
		to.add(edge{client, server}, row.point, &row.Counts)
		return nil
	})
	if err != nil {
		return nil, err
	}
	services := map[edge]string{} // that answered calls of peers; "" if several did
	busy, err := s.busyMinutes(ctx, w)
	for len(busy) > 0 && err == nil {
		n, joined := 1, busy[0].rows
		for n < len(busy) && joined+busy[n].rows <= maxJoined {
			joined += busy[n].rows
			n++
		}
		err = s.calls(ctx, w, busy[0].minute, busy[n-1].minute+1, func(caller, peer string, answered bool, callee string, row *countRow) {
			e := edge{service(caller), collector.Node{Kind: collector.NodePeer, Name: peer}}
			if !answered {
				unanswered.add(e, row.point, &row.Counts)
				return
			}
			if before, known := services[e]; known && before != callee {
				services[e] = "" // a gateway
			} else if known || len(services) < maxKept {
				services[e] = callee
			}
			e.server = service(callee)
			found.add(e, row.point, &row.Counts)
		})
		busy = busy[n:]
	}
	for e, points := range unanswered {
		if callee := services[e]; callee != "" {
			e.server = service(callee)
		}
		for point, c := range points {
			found.add(e, point, c)
		}
	}
	return found, err
}

// busyMinute is a minute with calls or answers.
type busyMinute struct {
	minute int64
	rows   uint64
}

// busyMinutes returns the minutes of w that have calls or answers, in order.
func (s *Store) busyMinutes(ctx context.Context, w collector.OperationScan) (out []busyMinute, err error) {
	var p params
	start, end := w.Minutes()
	where := " WHERE " + minutes(start, end, &p)
	text := "SELECT toInt64(intDiv(toUnixTimestamp(Minute), 60)), count() FROM (SELECT Minute FROM " + s.t.of(suffixCalls) + where +
		" UNION ALL SELECT Minute FROM " + s.t.of(suffixAnswers) + where + ") GROUP BY Minute ORDER BY Minute"
	err = s.each(ctx, text, p, func(rows driver.Rows) error {
		var b busyMinute
		err := rows.Scan(&b.minute, &b.rows)
		out = append(out, b)
		return err
	})
	return out, err
}

// calls visits the calls in some of the minutes of w, by caller, peer and service that answered.
func (s *Store) calls(ctx context.Context, w collector.OperationScan, start, end int64, visit func(caller, peer string, answered bool, callee string, row *countRow)) error {
	var p params
	const key = "Caller, Peer, Answered, Callee, Point"
	text := "SELECT " + key + ", " + sums + " FROM (" +
		"SELECT c.ServiceName AS Caller, c.PeerName AS Peer, a.Answered AS Answered, a.ServiceName AS Callee, " + point(w, &p) + " AS Point," +
		" sum(c.Weight) AS Spans, sum(c.Weight * (c.Failed OR a.Failed)) AS Errors, ([c.Bucket], [Spans]) AS Buckets" +
		" FROM (SELECT * FROM " + s.t.of(suffixCalls) + " WHERE " + minutes(start, end, &p) + ") AS c" +
		" GLOBAL ANY LEFT JOIN (SELECT Call, ServiceName, Failed, true AS Answered FROM " + s.t.of(suffixAnswers) +
		" WHERE " + minutes(start-answerMargin, end+answerMargin, &p) + ") AS a ON c.Call = a.Call" +
		" WHERE a.Answered OR c.PeerName != '' AND c.Minute <= now() - " + p.int(int64((time.Minute+callWait)/time.Second)) +
		" GROUP BY " + key + ", c.Bucket) GROUP BY " + key + " ORDER BY sum(Spans) DESC"
	return s.each(ctx, text, p, func(rows driver.Rows) error {
		var caller, peer, callee string
		var answered bool
		row, err := scanCounts(rows, &caller, &peer, &answered, &callee)
		if err == nil {
			visit(caller, peer, answered, callee, &row)
		}
		return err
	})
}

// noCounts reports whether there is nothing for w.
func (s *Store) noCounts(ctx context.Context, w collector.OperationScan) (bool, error) {
	if _, _, n := w.Points(); n > collector.MaxPoints {
		return true, collector.ErrTooManyPoints
	}
	s.settle(ctx)
	start, end := w.Minutes()
	return start >= end || !s.t.counts, ctx.Err()
}

// minutes returns the condition for rows of minutes from start to before end.
func minutes(start, end int64, p *params) string {
	bound := func(minute int64) string { // DateTime is from 1970 to 2106
		return "toDateTime(" + p.int(min(max(minute, 0), math.MaxUint32/60)*60) + ")"
	}
	return "Minute >= " + bound(start) + " AND Minute < " + bound(end)
}

// point returns the number of the point that a row belongs to.
func point(w collector.OperationScan, p *params) string {
	first, step, n := w.Points()
	if n == 0 {
		return "toInt64(0)"
	}
	return "intDiv(toInt64(toUnixTimestamp(Minute)) - " + p.int(first.Unix()) + ", " + p.int(int64(step/time.Second)) + ")"
}

// sums are the columns that scanCounts reads after those of a key and the point.
const sums = "sum(Spans), sum(Errors), sumMap(Buckets).1, sumMap(Buckets).2"

// countRow is what a row says about a point.
type countRow struct {
	point int64
	collector.Counts
}

// scanCounts returns what a row says. key is where the columns before go.
func scanCounts(rows driver.Rows, key ...any) (r countRow, err error) {
	var buckets []uint16
	var spans []float64
	err = rows.Scan(append(key, &r.point, &r.Spans, &r.Errors, &buckets, &spans)...)
	for i, n := range spans {
		r.Durations.AddBucket(min(int(buckets[i]), collector.MaxBucket), n)
	}
	return r, err
}

// counted is what was counted of an operation or an edge.
type counted struct {
	total  collector.Counts
	points []collector.Counts
}

func newCounted(w collector.OperationScan) *counted {
	_, _, n := w.Points()
	return &counted{points: make([]collector.Counts, n)}
}

func (c *counted) add(r *countRow) {
	c.total.Merge(&r.Counts)
	if len(c.points) > 0 {
		c.points[r.point].Merge(&r.Counts)
	}
}

func (c *counted) reset() {
	c.total.Reset()
	for i := range c.points {
		c.points[i].Reset()
	}
}

// operationStats returns what is behind the counts: the number of operations but not that of edges.
func (s *Store) operationStats(ctx context.Context) (st collector.OperationStats, err error) {
	if !s.t.counts {
		return st, nil
	}
	var p params
	var names []string
	for _, suffix := range countSuffixes {
		names = append(names, s.o.Table+suffix)
	}
	var operations, bytes uint64
	err = s.row(ctx, "SELECT uniqExact(ServiceName, SpanName, SpanKind), sum(Late) FROM "+s.t.of(suffixOperations), nil, &operations, &st.Late)
	if err == nil {
		err = s.row(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = "+p.text(s.t.database)+" AND table IN "+p.texts(names), p, &bytes)
	}
	st.Operations, st.Bytes = int(operations), int64(bytes)
	return st, err
}
