package block

import (
	"log/slog"
	"slices"

	"github.com/dendrotrace/dendro/collector"
)

// Wanted is what a trace must have.
type Wanted struct {
	*collector.Hints
	Hashes []Want // of what is in the filters of its segments
}

// Want has hashes of which one must be in a filter.
type Want []uint64

// All returns a bit for each of the hashes.
func (w *Wanted) All() uint64 { return 1<<len(w.Hashes) - 1 }

// In returns a bit for each of the hashes that filter may have.
func (w *Wanted) In(filter Filter) (found uint64) {
	for i, want := range w.Hashes {
		if slices.ContainsFunc(want, filter.Has) {
			found |= 1 << i
		}
	}
	return found
}

// maxWanted bounds how many hints are looked up in the filters of segments: [Block.Wanted] has a
// bit for each.
const maxWanted = 64

// WantedOf returns what h says.
func WantedOf(h *collector.Hints) *Wanted {
	var hashes []Want
	for _, a := range h.Values {
		if len(a.Key) <= MaxKey {
			hashes = append(hashes, HashAttr(a))
		}
	}
	for _, a := range h.Texts {
		if len(a.Key) <= MaxKey {
			hashes = append(hashes, HashAttrText(a.Key, a.Value.String()))
		}
	}
	for _, service := range h.Services {
		hashes = append(hashes, HashAttr(slog.String("service.name", service)))
	}
	for _, name := range h.Names {
		hashes = append(hashes, Want{HashName(name)})
	}
	for _, key := range h.Keys {
		if len(key) <= MaxKey {
			hashes = append(hashes, Want{HashText(key)})
		}
	}
	return &Wanted{h, hashes[:min(len(hashes), maxWanted)]}
}
