package main

import (
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestByteSize(t *testing.T) {
	for _, test := range []struct {
		text  string
		bytes int64
		again string
	}{
		{"1000", 1000, "1000B"},
		{"1B", 1, "1B"},
		{"64KiB", 64 << 10, "64KiB"},
		{"1024MiB", 1 << 30, "1GiB"},
		{"8589934591GiB", 8589934591 << 30, "8589934591GiB"},
	} {
		var b byteSize
		testkit.NoError(t, b.Set(test.text))
		testkit.Equal(t, test.text, int64(b), test.bytes)
		testkit.Equal(t, test.text, b.String(), test.again)
	}
	for _, text := range []string{"", "0", "-1MiB", "MiB", "1MB", "1.5GiB", "8589934592GiB", "1 MiB"} {
		b := byteSize(7)
		if b.Set(text) == nil || b != 7 {
			t.Errorf("%q is taken as %d", text, b)
		}
	}
}
