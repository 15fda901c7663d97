package memory

import (
	"log/slog"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// matcher decides whether traces match a query. It is not safe for concurrent use.
type matcher struct {
	collector.Query
	hashes  []uint64 // hashes of the keys of Query.Tags
	values  []string // values of Query.Tags, as text
	origins block.Origins
	block.Decoder

	// What is known about the resource that was decoded last.
	resource       []byte
	service        string
	common, needed uint64 // bits of the tags that it has, and that spans must have
}

func newMatcher(q collector.Query) *matcher {
	m := &matcher{Query: q}
	for _, tag := range q.Tags {
		m.hashes = append(m.hashes, block.HashText(tag.Key))
		m.values = append(m.values, tag.Value.Resolve().String())
	}
	return m
}

// matches reports whether t matches. The totals of t must be set.
func (m *matcher) matches(t *trace) bool {
	start, duration := time.Unix(0, t.first), t.duration()
	if m.ErrorsOnly && t.errors == 0 ||
		duration < m.MinDuration || m.MaxDuration > 0 && duration > m.MaxDuration ||
		!m.Start.IsZero() && start.Before(m.Start) || !m.End.IsZero() && !start.Before(m.End) {
		return false
	}
	named := m.Service == "" && m.Query.Name == ""
	tagged := len(m.Tags) == 0
	for _, b := range t.blocks {
		if named && tagged {
			break
		}
		n, t := m.block(b, !named, !tagged)
		named, tagged = named || n, tagged || t
	}
	return named && tagged
}

// block reports whether b has a span of the service and the name, if name is true, and
// a span with all tags, if tags is true.
func (m *matcher) block(b block.Block, name, tags bool) (named, tagged bool) {
	m.Open(b)
	m.know(m.Raw())
	m.Raw() // skip the scope
	if name {
		name = m.Service == "" || m.Service == m.service
		named = name && m.Query.Name == ""
		name = name && !named
	}
	if tags {
		tagged = m.needed == 0
		tags = !tagged && m.needed&^b.Keys == 0
	}
	var h block.Head
	for range m.Spans {
		if m.Failed || !name && !tags {
			break
		}
		m.Next(&h)
		if name && m.HasName(&h, m.Query.Name) {
			named, name = true, false
		}
		if !tags {
			m.Skip(&h)
			continue
		}
		if m.needed&^m.found() == 0 {
			tagged, tags = true, false
		}
		if h.Extra {
			m.SkipExtra()
		}
	}
	return named, tagged
}

// know sets the fields of m that depend on the resource.
func (m *matcher) know(resource []byte) {
	if m.resource != nil && string(resource) == string(m.resource) {
		return
	}
	m.resource = resource
	r := m.origins.Resource(resource)
	m.service, m.common = r.Service(), 0
	for _, a := range r.Attributes {
		for i, tag := range m.Tags {
			if a.Key == tag.Key && textIs(a.Value, m.values[i]) {
				m.common |= 1 << i
			}
		}
	}
	all := ^uint64(0) >> (64 - len(m.Tags))
	m.needed = all &^ m.common
}

// found reads the attributes of a span and returns a bit for each tag that is among
// them.
func (m *matcher) found() (tags uint64) {
	for r := m.List(); r.Next(); {
		candidates := uint64(0)
		for i := range m.Tags {
			if string(r.Key()) == m.Tags[i].Key {
				candidates |= 1 << i
			}
		}
		if candidates == 0 {
			r.Skip()
			continue
		}
		v := r.Value()
		for i := range m.Tags {
			if candidates&(1<<i) != 0 && textIs(v, m.values[i]) {
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
