package main

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestDivide(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		memory       byteSize
		given        int64
		limit, store int64
		problem      string
	}{
		{56 * mib, math.MaxInt64, 28 * mib, 8 * mib, ""},
		{64 * mib, math.MaxInt64, 36 * mib, 16 * mib, ""},
		{1024 * mib, math.MaxInt64, 996 * mib, 996*mib - 996*mib/5, ""},
		{1024 * mib, 512 * mib, 512 * mib, 512*mib - 512*mib/5, ""}, // GOMEMLIMIT is lower
		{64 * mib, 512 * mib, 36 * mib, 16 * mib, ""},               // -memory is
		{55 * mib, math.MaxInt64, 0, 0, "-memory 55MiB is too small: want at least 56MiB"},
		{64 * mib, 20 * mib, 0, 0, "GOMEMLIMIT is too small: want at least 28MiB"},
	} {
		what := fmt.Sprintf("%s, GOMEMLIMIT %d", &c.memory, c.given)
		limit, store, err := divide(c.memory, c.given)
		testkit.Equal(t, what+": limit", limit, c.limit)
		testkit.Equal(t, what+": store", store, c.store)
		testkit.Equal(t, what+": error", err != nil && err.Error() == c.problem, c.problem != "")
	}
}

func TestTooLittleMemory(t *testing.T) {
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0", "-memory", "1MiB"}, &stdout, &stderr)
	testkit.Equal(t, "exit code", code, exitError)
	if !strings.Contains(stderr.String(), "-memory 1MiB is too small: want at least 56MiB") {
		t.Errorf("stderr: %s", stderr.String())
	}
	testkit.Equal(t, "stdout", stdout.String(), "")
}

// With -data, the heap may take what the index needs besides, up to -memory.
func TestHeapLimit(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ memory, index, want int64 }{
		{576 * mib, 0, 192 * mib},
		{576 * mib, 30 * mib, 252 * mib},
		{576 * mib, 300 * mib, 576 * mib},
		{100 * mib, 30 * mib, 192 * mib},
	} {
		testkit.Equal(t, "limit", heapLimit(c.memory, c.index)+databaseMemory, c.want)
	}
}
