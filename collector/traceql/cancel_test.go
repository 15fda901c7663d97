package traceql_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
)

// endless has one large trace, and cancels a query when it comes to it.
type endless struct {
	collector.Reader
	cancel func()
}

func (e endless) Scan(_ context.Context, _ collector.Scan, visit func(*collector.Trace) bool) error {
	t := &collector.Trace{}
	resource := &dendro.Resource{}
	for i := range 1 << 16 {
		s := collector.Span{Resource: resource}
		s.SpanID = dendro.SpanID{1, byte(i), byte(i >> 8), byte(i >> 16)}
		s.ParentID = dendro.SpanID{1, byte(i >> 1), byte(i >> 9), byte(i >> 17)}
		t.Spans = append(t.Spans, s)
	}
	e.cancel()
	visit(t)
	return nil
}

// A query of one large trace ends with its context.
func TestCanceledInATrace(t *testing.T) {
	for _, text := range []string{
		"{ duration >= 0 }", "{ } >> { }", "{ } !~ { }", "{ } | count() > 1", "{ } | by(name)", "{ nestedSetLeft >= 0 } || { childCount >= 0 }",
		"{ } | rate() by(name)", "{ } | compare({ status = error })",
	} {
		q, err := traceql.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if q.IsMetrics() {
			_, _, err = q.Metrics(ctx, endless{cancel: cancel}, traceql.Range{Start: time.Unix(0, 0), End: time.Unix(60, 0), Step: time.Minute})
		} else {
			_, _, err = q.Search(ctx, endless{cancel: cancel}, traceql.SearchOptions{})
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", text, err)
		}
	}
}
