package diagnostics

import (
	"testing"
	"time"
)

// waitUntil waits until done returns true.
func waitUntil(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it has not happened in ten seconds")
		}
	}
}
