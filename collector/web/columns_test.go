package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// columns are those that the tests look at.
type columns struct {
	Names               []string
	ID                  []string
	Size, Late, Twice   []int
	FoldRow, FoldErrors []int
	FoldCaller          []string
	SkewRow             []int
	SkewShift           []int64
}

func columnsOf(t testing.TB, s *skeleton) (c columns) {
	t.Helper()
	data := s.encode()
	if i := strings.IndexAny(string(data), "<>&\u2028\u2029"); i >= 0 {
		t.Errorf("not escaped: %s", data[i:])
	}
	testkit.NoError(t, json.Unmarshal(data, &c))
	return c
}

func TestColumns(t *testing.T) {
	evil := "</script><!--<script>\u2028\u2029\"\\\x00\x7fé&"
	spans := []collector.Span{spanBelow(0, 1, evil, 0, 10, "", "")}
	for i := range 5 { // of which one is not late
		spans = append(spans, spanBelow(1, 10+i%4, "SELECT", int64(10+i), int64(20+i), "", ""))
	}
	c := columnsOf(t, newSkeleton(&collector.Trace{Spans: spans}, false))
	testkit.Equal(t, "names", c.Names, []string{evil, "SELECT"})
	testkit.Equal(t, "ids", fmt.Sprint(c.ID), "[0000000000000001 000000000000000a 000000000000000a 000000000000000b 000000000000000c 000000000000000d 000000000000000a]")
	testkit.Equal(t, "sizes", c.Size, []int{7, 6, 1, 1, 1, 1, 1})
	testkit.Equal(t, "folds", c.FoldRow, []int{1})
	testkit.Equal(t, "late", c.Late, []int{3, 4, 5, 6})
	testkit.Equal(t, "twice", c.Twice, []int{2, 6})
}
