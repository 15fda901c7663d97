package block

import (
	"fmt"
	"strings"
	"testing"
)

// Hashes are part of filters, which a store may keep for longer than a process lives.
func TestHashIsFixed(t *testing.T) {
	for text, want := range map[string]uint64{
		"":                                    0x0,
		"GET":                                 0x7b1bab01,
		"http.route":                          0x68f11945,
		"http.request.header.accept":          0x2a83768f699cbfc8,
		"SELECT * FROM orders WHERE user = ?": 0x8b858cf61369f0da,
		strings.Repeat("a statement, ", 1000): 0x47df3ac0015cf476,
		strings.Repeat("a statement, ", 1000)[1:]: 0x4058b2c30a673739,
	} {
		if got := HashText(text); got != want {
			t.Errorf("HashText of %d bytes, %.40q: %#x, want %#x", len(text), text, got, want)
		}
	}
}

func TestHashesDiffer(t *testing.T) {
	seen := map[uint64]string{}
	collisions := 0
	for _, before := range []string{"", strings.Repeat("x", 7), strings.Repeat("x", 16), strings.Repeat("x", 100)} {
		for _, after := range []string{"", strings.Repeat("y", 9), strings.Repeat("y", 33)} {
			for n := range 20_000 {
				text := before + fmt.Sprintf("%07d", n) + after
				if len(text) <= 24 {
					continue
				}
				hash := HashText(text)
				if other, found := seen[hash]; found && other != text {
					collisions++
				}
				seen[hash] = text
			}
		}
	}
	if collisions > 0 {
		t.Errorf("%d collisions of %d hashes", collisions, len(seen))
	}
}

func BenchmarkHashText(b *testing.B) {
	for _, n := range []int{8, 25, 100, 1000} {
		text := strings.Repeat("x", n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				HashText(text)
			}
		})
	}
}
