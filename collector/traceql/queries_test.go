package traceql_test

import (
	"os"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// The answers in the table of storetest are those of the store in memory. With -update they
// are written; look at what changed.
func TestUpdateQueries(t *testing.T) {
	if !*testkit.Update {
		t.Skip("only with -update; storetest compares the answers")
	}
	s := memory.New(memory.Options{})
	for _, b := range storetest.Data() {
		testkit.NoError(t, s.Collect(b))
	}
	var out strings.Builder
	for _, line := range storetest.Queries() {
		switch {
		case strings.HasPrefix(line, "\t"):
		case line == "", strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + "\n\t" + storetest.Answer(t, s, line) + "\n")
		}
	}
	testkit.NoError(t, os.WriteFile("../storetest/queries.txt", []byte(out.String()), 0o644))
}
