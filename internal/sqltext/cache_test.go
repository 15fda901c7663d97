package sqltext

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestCacheIsBounded(t *testing.T) {
	parsed := 0
	c := Cache[int]{Parse: func(string) *int { parsed++; return new(int) }}
	hot := c.Get("SELECT hot")
	for i := range 10 * generation {
		c.Get("SELECT " + strings.Repeat("x", i%5000))
		if got := c.Get("SELECT hot"); got != hot {
			t.Fatal("a statement in use was forgotten")
		}
	}
	if n := len(c.newer) + len(c.older); n > 2*generation {
		t.Errorf("%d statements are kept", n)
	}
	large := "SELECT large" + strings.Repeat(" ", 1<<20)
	c.Get(large[:12])
	for text := range c.newer {
		if text == "SELECT large" && unsafe.StringData(text) == unsafe.StringData(large) {
			t.Error("a statement keeps the text that it was cut from")
		}
	}
	before := parsed
	c.Get(strings.Repeat("x", maxCachedText+1))
	c.Get(strings.Repeat("x", maxCachedText+1))
	testkit.Equal(t, "parsed", parsed-before, 2)
}
