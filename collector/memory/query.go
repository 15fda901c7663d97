package memory

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// Search implements [collector.Store].
func (m *Store) Search(ctx context.Context, q collector.Query) ([]collector.Summary, error) {
	q, err := q.Normalize()
	if err != nil {
		return nil, err
	}
	m.readers.Add(1)
	defer m.readers.Add(-1)
	var found []trace // the newest so far, in order
	match := newMatcher(q)
	start := always()
	if s := q.Start.Unix(); s > 0 && s < math.MaxInt64/int64(time.Second) {
		start = q.Start.UnixNano()
	}
	since := func() int64 {
		if len(found) == q.Limit {
			return max(start, found[q.Limit-1].first)
		}
		return start
	}
	err = m.each(ctx, since, match.hashes, func(t *trace) bool {
		if full := len(found) == q.Limit; full && t.newestFirst(&found[len(found)-1]) > 0 || !match.matches(t) {
			return true
		}
		found = found[:min(len(found), q.Limit-1)]
		i, _ := slices.BinarySearchFunc(found, t, func(a trace, t *trace) int { return a.newestFirst(t) })
		found = slices.Insert(found, i, *t)
		found[i].blocks = slices.Clone(t.blocks)
		return true
	})
	if err != nil {
		return nil, err
	}
	out := make([]collector.Summary, len(found))
	for i := range found {
		out[i] = found[i].summary(&match.Decoder, &match.origins)
	}
	if match.Broken || match.origins.Broken {
		return nil, block.ErrBroken
	}
	return out, nil
}

// Tags implements [collector.Store].
func (m *Store) Tags(ctx context.Context) ([]string, error) {
	seen := textSet{}
	err := m.eachAttribute(ctx, func(r *block.AttrList) bool {
		seen.add(r.Key())
		r.Skip()
		return true
	})
	if err != nil {
		return nil, err
	}
	return seen.sorted(), nil
}

// TagValues implements [collector.Store].
func (m *Store) TagValues(ctx context.Context, key string) ([]string, error) {
	seen := textSet{}
	err := m.eachAttribute(ctx, func(r *block.AttrList) bool {
		if string(r.Key()) != key {
			r.Skip()
			return true
		}
		if text, ok := r.Text(); ok {
			seen.add(text)
		} else {
			seen.add([]byte(r.Value().String()))
		}
		return len(seen) < collector.MaxTagValues
	})
	if err != nil {
		return nil, err
	}
	return seen.sorted(), nil
}

// eachAttribute calls visit for each attribute of spans and resources, until visit
// returns false. visit must read or skip the
// value.
func (m *Store) eachAttribute(ctx context.Context, visit func(r *block.AttrList) bool) error {
	m.readers.Add(1)
	defer m.readers.Add(-1)
	var d, inner block.Decoder
	resources := textSet{}
	err := m.each(ctx, always, nil, func(t *trace) bool {
		for _, b := range t.blocks {
			d.Open(b)
			if resource := d.Raw(); resources.add(resource) {
				inner.Use(resource)
				for r := inner.List(); r.Next(); {
					if !visit(&r) {
						return false
					}
				}
			}
			d.Raw() // skip the scope
			var h block.Head
			for range d.Spans {
				d.Next(&h)
				for r := d.List(); r.Next(); {
					if !visit(&r) {
						return false
					}
				}
				if h.Extra {
					d.SkipExtra()
				}
			}
		}
		return true
	})
	if err == nil && (d.Broken || inner.Broken) {
		return block.ErrBroken
	}
	return err
}

// textSet is a set of texts.
type textSet map[string]struct{}

// add adds a copy of text and reports whether it is new.
func (s textSet) add(text []byte) bool {
	if _, ok := s[string(text)]; ok {
		return false
	}
	s[string(text)] = struct{}{}
	return true
}

func (s textSet) sorted() []string { return slices.Sorted(maps.Keys(s)) }
