package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// quiet is for stores that are hurt on purpose.
var quiet = slog.New(slog.DiscardHandler)

// batchOf returns batch n of a seed: spans of a few traces, some of which earlier batches have, too.
func batchOf(seed uint64, n int) *dendro.Batch {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", fmt.Sprint("service-", n%3))}}}
	for i := range 1 + r.IntN(12) {
		s := &dendro.SpanData{Name: fmt.Sprint("operation-", r.IntN(5)), Start: 1_760_000_000_000_000_000 + int64(n)*1_000_000 + int64(i)}
		s.End = s.Start + int64(r.IntN(1_000_000))
		trace := n - n%(1+r.IntN(8)) // a few traces grow for long
		if r.IntN(4) == 0 {
			trace = r.IntN(20)
		}
		binary.BigEndian.PutUint64(s.TraceID[8:], seed)
		binary.BigEndian.PutUint64(s.TraceID[:], uint64(trace)+1)
		binary.BigEndian.PutUint64(s.SpanID[:], uint64(n)<<8+uint64(i)+1)
		s.Attributes = []slog.Attr{slog.Int("n", n), slog.String("text", fmt.Sprintf("%0*d", r.IntN(200), n))}
		if r.IntN(50) == 0 {
			s.Status.Code = dendro.StatusError
		}
		b.Spans = append(b.Spans, s)
	}
	return b
}

// ledger knows which batches of a seed were acknowledged, and when.
type ledger struct {
	seed uint64
	mu   sync.Mutex
	at   map[int]time.Time
}

func newLedger(seed uint64) *ledger { return &ledger{seed: seed, at: map[int]time.Time{}} }

// add notes that batch n was acknowledged. What is acknowledged again is as old as it was.
func (l *ledger) add(n int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, again := l.at[n]; !again {
		l.at[n] = now
	}
}

func (l *ledger) clone() *ledger {
	out := newLedger(l.seed)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n, at := range l.at {
		out.at[n] = at
	}
	return out
}

type spansOf map[dendro.TraceID]block.SpanSet

func (m spansOf) add(id dendro.TraceID, k block.SpanKey) bool {
	if m[id] == nil {
		m[id] = block.SpanSet{}
	}
	return m[id].Add(k)
}

// since returns what was acknowledged since a time.
func (l *ledger) since(then time.Time) spansOf {
	want := spansOf{}
	for n, at := range l.at {
		if at.Before(then) {
			continue
		}
		for _, d := range batchOf(l.seed, n).Spans {
			want.add(d.TraceID, block.SpanKey{ID: d.SpanID, Start: d.Start})
		}
	}
	return want
}

// check fails the test unless s has what was acknowledged since a time, by trace id and by search,
// and has everything once.
func (l *ledger) check(t *testing.T, s *Store, then time.Time) {
	t.Helper()
	want := l.since(then)
	found, spans := spansOf{}, 0
	testkit.NoError(t, s.Scan(t.Context(), collector.Scan{AllAttributes: true, Details: true}, func(trace *collector.Trace) bool {
		if found[trace.ID] != nil {
			t.Errorf("a scan finds trace %s twice", trace.ID)
		}
		for _, d := range trace.Spans {
			spans++
			if !found.add(trace.ID, block.SpanKey{ID: d.SpanID, Start: d.Start}) {
				t.Errorf("a scan finds span %s of trace %s twice", d.SpanID, trace.ID)
			}
		}
		return true
	}))
	lost := 0
	for id, keys := range want {
		for k := range keys {
			if _, ok := found[id][k]; !ok {
				lost++
			}
		}
	}
	if lost > 0 {
		t.Errorf("a scan finds %d acknowledged spans less", lost)
	}
	for id, keys := range found {
		trace, err := s.Trace(t.Context(), id, collector.TimeRange{})
		testkit.NoError(t, err)
		if trace == nil {
			t.Errorf("trace %s is found by a scan and not by its id", id)
			continue
		}
		seen := spansOf{}
		for _, d := range trace.Spans {
			k := block.SpanKey{ID: d.SpanID, Start: d.Start}
			if _, ok := keys[k]; !ok || !seen.add(id, k) {
				t.Errorf("trace %s has span %s twice or one that a scan does not find", id, d.SpanID)
			}
		}
		if len(seen[id]) != len(keys) {
			t.Errorf("trace %s has %d spans by its id and %d in a scan", id, len(seen[id]), len(keys))
		}
	}
	st, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	dropped := uint64(0)
	for _, n := range st.Dropped {
		dropped += n
	}
	if st.Spans != spans || st.Traces != len(found) || st.Accepted != uint64(spans)+dropped {
		t.Errorf("the statistics say %+v, a scan finds %d traces of %d spans", st, len(found), spans)
	}
}

// resend sends everything that was acknowledged again and fails the test if some of that is new.
func (l *ledger) resend(t *testing.T, s *Store) {
	t.Helper()
	before, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	spans := uint64(0)
	for n := range l.at {
		b := batchOf(l.seed, n)
		testkit.NoError(t, s.Write(context.Background(), []*dendro.Batch{b}))
		spans += uint64(len(b.Spans))
	}
	after, err := s.Stats(t.Context())
	testkit.NoError(t, err)
	if after.Spans != before.Spans || after.Duplicates-before.Duplicates != spans {
		t.Errorf("%d spans were sent again: %d are stored twice, %d are counted as duplicates", spans, after.Spans-before.Spans, after.Duplicates-before.Duplicates)
	}
}
