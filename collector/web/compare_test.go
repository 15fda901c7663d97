package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestCompareTraces(t *testing.T) {
	a := &collector.Trace{Spans: []collector.Span{tested(1, 0, "GET /", 0, 100), tested(2, 1, "SELECT a", 1, 41), tested(3, 1, "SELECT a", 50, 60), tested(4, 1, "old", 70, 71)}}
	b := &collector.Trace{Spans: []collector.Span{tested(1, 0, "GET /", 1000, 1040), tested(2, 1, "SELECT a", 1001, 1011), tested(5, 1, "new", 1012, 1020), tested(6, 5, "deep", 1013, 1014)}}
	b.Spans[1].Status.Code = dendro.StatusError
	var got []string
	for _, r := range compareTraces(a, b, 100*time.Millisecond) {
		got = append(got, fmt.Sprintf("%s%s %d/%d %v %d/%d %v %s %v%s", strings.Repeat(" ", r.Depth), r.Name, r.A.Spans, r.A.Errors, r.A.Total, r.B.Spans, r.B.Errors, r.B.Total, r.Signed(), r.Much, r.Only()))
	}
	testkit.Equal(t, "rows", strings.Join(got, "\n"), strings.Join([]string{
		"GET / 1/0 100ms 1/0 40ms +60.0 ms true",
		" SELECT a 2/0 50ms 1/1 10ms +40.0 ms true",
		" new 0/0 0s 1/0 8ms −8.00 ms falseb",
		"  deep 0/0 0s 1/0 1ms −1.00 ms falseb",
		" old 1/0 1ms 0/0 0s +1.00 ms falsea",
	}, "\n"))
}
