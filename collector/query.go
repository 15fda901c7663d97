package collector

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"
)

// Search implements [Store].
func (m *Memory) Search(ctx context.Context, q Query) ([]Summary, error) {
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
	out := make([]Summary, len(found))
	for i := range found {
		out[i] = found[i].summary(&match.decoder, &match.origins)
	}
	if match.broken || match.origins.broken {
		return nil, errBlock
	}
	return out, nil
}

// Tags implements [Store].
func (m *Memory) Tags(ctx context.Context) ([]string, error) {
	seen := textSet{}
	err := m.eachAttribute(ctx, func(d *decoder, start, end int) bool {
		seen.add(d.data[start:end])
		d.skipValue()
		return true
	})
	if err != nil {
		return nil, err
	}
	return seen.sorted(), nil
}

// TagValues implements [Store].
func (m *Memory) TagValues(ctx context.Context, key string) ([]string, error) {
	seen := textSet{}
	err := m.eachAttribute(ctx, func(d *decoder, start, end int) bool {
		if string(d.data[start:end]) != key {
			d.skipValue()
			return true
		}
		if n := d.uvarint(); n&(1<<tagBits-1) <= tagReference {
			start, end := d.placeOf(n)
			seen.add(d.data[start:end])
		} else {
			seen.add([]byte(d.valueOf(n).String()))
		}
		return len(seen) < MaxTagValues
	})
	if err != nil {
		return nil, err
	}
	return seen.sorted(), nil
}

// eachAttribute calls visit for each attribute of spans and resources, until visit
// returns false. The key is at d.data[start:end], and visit must read or skip the
// value.
func (m *Memory) eachAttribute(ctx context.Context, visit func(d *decoder, start, end int) bool) error {
	m.readers.Add(1)
	defer m.readers.Add(-1)
	var d, inner decoder
	resources := textSet{}
	err := m.each(ctx, always, nil, func(t *trace) bool {
		for _, b := range t.blocks {
			d.open(b)
			if resource := d.raw(); resources.add(resource) {
				inner.use(resource, 0, len(resource))
				for r := inner.list(); r.next(); {
					if !visit(&inner, r.start, r.end) {
						return false
					}
				}
			}
			d.raw() // skip the scope
			var h head
			for range d.spans {
				d.next(&h)
				for r := d.list(); r.next(); {
					if !visit(&d, r.start, r.end) {
						return false
					}
				}
				if h.extra {
					d.skipExtra()
				}
			}
		}
		return true
	})
	if err == nil && (d.broken || inner.broken) {
		return errBlock
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
