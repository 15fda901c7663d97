package block

import (
	"bytes"
	"log/slog"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// Wanted is what a trace must have. It does not matter which of its spans has what.
type Wanted struct {
	Hashes                   []Want // of what is in the filters of its segments
	Errors                   bool
	MinDuration, MaxDuration time.Duration
	StartsAfter              time.Time
}

// Want has hashes of which one must be in a filter. If text is not empty and the second is not,
// the segment has the text.
type Want struct {
	Hashes []uint64
	text   string
}

// All returns a bit for each of the hashes.
func (w *Wanted) All() uint64 { return 1<<len(w.Hashes) - 1 }

// In returns a bit for each of the hashes that filter may have.
func (w *Wanted) In(filter Filter) (found uint64) {
	for i, want := range w.Hashes {
		if slices.ContainsFunc(want.Hashes, filter.Has) {
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
	w := &Wanted{MinDuration: h.MinDuration, MaxDuration: h.MaxDuration}
	for i := range h.Spans {
		w.span(&h.Spans[i])
	}
	w.Hashes = w.Hashes[:min(len(w.Hashes), maxWanted)]
	return w
}

func (w *Wanted) span(h *collector.SpanHints) {
	w.Errors = w.Errors || h.Errors
	w.MinDuration = max(w.MinDuration, h.MinDuration)
	if h.StartsAfter.After(w.StartsAfter) {
		w.StartsAfter = h.StartsAfter
	}
	for _, a := range h.Values {
		if len(a.Key) <= MaxKey {
			w.Hashes = append(w.Hashes, wantAttr(a))
		}
	}
	for _, a := range h.Texts {
		if len(a.Key) <= MaxKey {
			w.Hashes = append(w.Hashes, Want{Hashes: HashAttrText(a.Key, a.Value.String())})
		}
	}
	for _, service := range h.Services {
		w.Hashes = append(w.Hashes, wantAttr(slog.String("service.name", service)))
	}
	for _, name := range h.Names {
		w.Hashes = append(w.Hashes, Want{Hashes: []uint64{HashName(name)}, text: name})
	}
	for _, key := range h.Keys {
		if len(key) <= MaxKey {
			w.Hashes = append(w.Hashes, Want{Hashes: []uint64{HashText(key)}})
		}
	}
}

func wantAttr(a slog.Attr) Want {
	w := Want{Hashes: HashAttr(a)}
	if a.Value.Kind() == slog.KindString {
		w.text = a.Value.String()
	}
	return w
}

// Times reports whether a trace that begins at first and ends at end may be wanted, in nanoseconds
// since the Unix epoch.
func (w *Wanted) Times(first, end int64) bool {
	d := time.Duration(max(0, end-first))
	return d >= w.MinDuration && (w.MaxDuration == 0 || d <= w.MaxDuration) && (w.StartsAfter.IsZero() || end >= UnixNano(w.StartsAfter))
}

// Literal reports whether a segment whose filter may have all hashes can have the texts that
// belong to them. A filter is wrong more often than a segment happens to have a text. found reports
// whether the filter may have a hash.
func (w *Wanted) Literal(segment []byte, found func(hash uint64) bool) bool {
	for _, want := range w.Hashes {
		if want.text == "" || len(want.Hashes) > 1 && found(want.Hashes[1]) {
			continue
		}
		if !bytes.Contains(segment, []byte(want.text)) {
			return false
		}
	}
	return true
}
