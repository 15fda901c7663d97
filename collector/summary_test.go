package collector_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// Services are counted and sorted by name, in whatever order their spans are.
func TestSummaryServices(t *testing.T) {
	trace := &collector.Trace{}
	for i, service := range []string{"shop", "shop", "db", "shop", "auth", "db", ""} {
		s := collector.Span{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", service)}}}
		if i%2 == 1 {
			s.Status.Code = dendro.StatusError
		}
		trace.Spans = append(trace.Spans, s)
	}
	sum := trace.Summary()
	testkit.Equal(t, "services", fmt.Sprint(sum.Services), "[{ 1 0} {auth 1 0} {db 2 1} {shop 3 2}]")
	testkit.Equal(t, "errors", sum.Errors, 3)
}
