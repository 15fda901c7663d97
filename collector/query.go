package collector

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// Search implements [Store].
func (m *Memory) Search(ctx context.Context, q Query) ([]Summary, error) {
	q, err := q.Normalize()
	if err != nil {
		return nil, err
	}
	var found []trace // the newest so far, in their order
	match := newMatcher(q)
	err = m.each(ctx, func(t *trace) bool {
		if full := len(found) == q.Limit; full && t.newestFirst(&found[len(found)-1]) > 0 || !match.matches(t) {
			return true
		}
		// It is there already if it was evicted and began anew meanwhile.
		found = slices.DeleteFunc(found, func(a trace) bool { return a.id == t.id })
		found = found[:min(len(found), q.Limit-1)]
		i, _ := slices.BinarySearchFunc(found, t, func(a trace, t *trace) int { return a.newestFirst(t) })
		found = slices.Insert(found, i, *t)
		return true
	})
	if err != nil {
		return nil, err
	}
	out := make([]Summary, len(found))
	for i := range found {
		out[i] = found[i].summary()
	}
	return out, nil
}

// Tags implements [Store].
func (m *Memory) Tags(ctx context.Context) ([]string, error) {
	seen := textSet{}
	var d decoder
	err := m.eachBlock(ctx, func(data string) bool {
		d.open(data)
		for _, key := range d.keys {
			seen.add(key)
		}
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
	var d decoder
	err := m.eachBlock(ctx, func(data string) bool {
		d.open(data)
		if !slices.Contains(d.keys, key) {
			return true
		}
		var h head
		for range d.n {
			h = d.head(h.start)
		}
		for range max(1, d.n) {
			for range d.count(2) {
				if k, v := d.string(d.keys), d.value(); k == key && len(seen) < MaxTagValues {
					seen.add(v.String())
				}
			}
		}
		return len(seen) < MaxTagValues
	})
	if err != nil {
		return nil, err
	}
	return seen.sorted(), nil
}

// eachBlock calls visit with the encoded spans and resources of all traces,
// resources more than once, until it returns false.
func (m *Memory) eachBlock(ctx context.Context, visit func(data string) bool) error {
	var resource *interned // the last one
	return m.each(ctx, func(t *trace) bool {
		for b := t.last; b != nil; b = b.next {
			if b.resource != resource {
				resource = b.resource
				if !visit(resource.data) {
					return false
				}
			}
			if !visit(b.data) {
				return false
			}
		}
		return true
	})
}

// textSet is a set of copies.
type textSet map[string]struct{}

func (s textSet) add(text string) {
	if _, ok := s[text]; !ok {
		s[strings.Clone(text)] = struct{}{}
	}
}

func (s textSet) sorted() []string { return slices.Sorted(maps.Keys(s)) }
