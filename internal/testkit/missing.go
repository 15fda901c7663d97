package testkit

import (
	"os"
	"testing"
)

// Missing skips the test because software that it needs is missing. With DENDRO_REQUIRE_ALL=1 it
// fails the test.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("DENDRO_REQUIRE_ALL") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}
