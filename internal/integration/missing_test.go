package integration

import (
	"os"
	"testing"
)

// missing skips the test because software that it needs is missing. If all of it is required,
// it fails the test.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("DENDRO_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}
