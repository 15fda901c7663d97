package integration

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestBrowserOddTraces looks at traces whose times and shapes are unlikely, in every view, with every
// key. What the browser logs fails the test.
func TestBrowserOddTraces(t *testing.T) {
	store := memory.New(memory.Options{})
	hour := int64(3600_000)
	backwards, long, early := spanAt(2, 1, 0, "backwards", 10, 0), spanAt(3, 1, 0, "three years", -3*365*24*hour, 0), spanAt(4, 1, 0, "at the epoch", 0, 0)
	early.Start, early.End = 1, math.MaxInt64
	deep := []*dendro.SpanData{spanAt(5, 1, 0, "deep", 0, 5000)}
	for i := 2; i < 3000; i++ {
		deep = append(deep, spanAt(5, i, i-1, fmt.Sprint("level ", i), int64(i), 5000))
	}
	same := []*dendro.SpanData{}
	for i := range 30 {
		same = append(same, spanAt(6, 7, 7, fmt.Sprint("own parent ", i), int64(i), int64(i)))
	}
	zero := spanAt(7, 1, 0, "no start", 0, 10)
	zero.Start = 0
	noTime := spanAt(1, 1, 0, "no time", 5, 5)
	noTime.Events = []dendro.Event{{Name: "exception", Time: noTime.Start, Attributes: []slog.Attr{slog.String("exception.stacktrace", strings.Repeat("(", 900_000)+"\r\n\t/x.go:1")}}}
	for _, spans := range [][]*dendro.SpanData{{noTime}, {backwards, spanAt(2, 2, 1, "child", 3, 4)}, {long, spanAt(3, 2, 1, "short", -5, -4)}, {early}, deep, same, {zero, spanAt(7, 2, 1, "no time", 5, 5)},
		{spanAt(8, 1, 0, "two hours", 0, 2*hour), spanAt(8, 2, 1, "a moment", hour, hour+20)}} {
		send(t, store, "odd", spans...)
	}
	b := openBrowser(t, store, "")
	for trace := 1; trace <= 8; trace++ {
		b.open(fmt.Sprintf("/trace/%d", trace), ready)
		b.key("z", "+", "+", "-", "0", kb.End, "z")
		ticks := eval[[]string](b, axis)
		testkit.Equal(t, fmt.Sprintf("%d has different times: %q", trace, ticks), len(ticks) > 0 && len(slices.Compact(ticks)) == len(ticks), true)
		b.key(kb.ArrowLeft, kb.ArrowRight, "e", "n", "N", kb.Enter)
		b.wait(panel + `?.querySelector("article")`)
		for range 4 {
			b.key("t")
		}
		b.wait(`document.querySelector(".logs :is(table, .none)")`)
		b.key("t", "0")
		testkit.Equal(t, fmt.Sprint("rows of ", trace), eval[bool](b, `document.querySelectorAll(".rows .row").length > 0`), true)
		for _, hash := range []string{"from=-5&to=1e300", "from=NaN&to=Infinity", "from=-Infinity&to=Infinity", "from=5&to=4", "span=x", "fold=0000000000000001", "view=none", "q=%25"} {
			eval[bool](b, fmt.Sprintf("(location.hash = %q, true)", hash))
			b.wait(`document.querySelectorAll(".rows .row").length > 0 && document.querySelector(".axis span")`)
		}
	}
}
