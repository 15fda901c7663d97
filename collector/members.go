package collector

import (
	"log/slog"
	"slices"

	"github.com/dendrotrace/dendro"
)

// HasMembers reports whether v is a [dendro.KeyValues], or an array that contains one. In queries, the
// members of such a value have dotted keys, with the index of an element of an array.
func HasMembers(v slog.Value) bool {
	switch x := v.Any().(type) {
	case dendro.KeyValues:
		return true
	case []slog.Value:
		return slices.ContainsFunc(x, HasMembers)
	}
	return false
}
