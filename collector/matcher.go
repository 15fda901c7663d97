package collector

import (
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// matcher tells whether traces match a query. It is used by one goroutine.
type matcher struct {
	Query
	values []string // of Query.Tags, as text
	decoder
}

func newMatcher(q Query) *matcher {
	m := &matcher{Query: q}
	for _, tag := range q.Tags {
		m.values = append(m.values, tag.Value.Resolve().String())
	}
	return m
}

func (m *matcher) matches(t *trace) bool {
	start, duration := time.Unix(0, t.first), t.duration()
	if m.ErrorsOnly && t.errors == 0 ||
		duration < m.MinDuration || m.MaxDuration > 0 && duration > m.MaxDuration ||
		!m.Start.IsZero() && start.Before(m.Start) || !m.End.IsZero() && !start.Before(m.End) {
		return false
	}
	named := m.Service == "" && m.Name == ""
	tagged := len(m.Tags) == 0
	for b := t.last; b != nil && !(named && tagged); b = b.next {
		named = named || m.named(b)
		tagged = tagged || m.tagged(b)
	}
	return named && tagged
}

// named reports whether b has a span of the service and the name.
func (m *matcher) named(b *block) bool {
	if m.Service != "" && m.Service != b.resource.service {
		return false
	}
	if m.Name == "" {
		return true
	}
	m.open(b.data)
	var h head
	for range m.n {
		if h = m.head(h.start); h.name == m.Name {
			return true
		}
	}
	return false
}

// tagged reports whether b has a span with all tags.
func (m *matcher) tagged(b *block) bool {
	all := uint64(1)<<len(m.Tags) - 1
	m.open(b.resource.data)
	common := m.found()
	if common == all {
		return true
	}
	m.open(b.data)
	if m.missing(all &^ common) {
		return false
	}
	var h head
	for range m.n {
		h = m.head(h.start)
	}
	for range m.n {
		if common|m.found() == all {
			return true
		}
	}
	return false
}

// missing reports whether the block has not even the key of one of tags.
func (m *matcher) missing(tags uint64) bool {
	for i, tag := range m.Tags {
		if tags&(1<<i) != 0 && !slices.Contains(m.keys, tag.Key) {
			return true
		}
	}
	return false
}

// found reads the attributes that are next and returns which tags are among
// them, one bit for each.
func (m *matcher) found() (tags uint64) {
	for range m.count(2) {
		key, value := m.string(m.keys), m.value()
		for i, tag := range m.Tags {
			if tag.Key == key && textIs(value, m.values[i]) {
				tags |= 1 << i
			}
		}
	}
	return tags
}

// textIs reports whether v.String() is text.
func textIs(v slog.Value, text string) bool {
	switch v.Kind() {
	case slog.KindInt64:
		var buf [20]byte
		return string(strconv.AppendInt(buf[:0], v.Int64(), 10)) == text
	default:
		return v.String() == text
	}
}
