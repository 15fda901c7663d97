package web

import (
	"hash/maphash"
	"log/slog"
	"strings"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// Bounds of a tally.
const (
	maxTallyFields = 500
	maxTallyValues = 50_000 // of all fields
	maxTallyText   = 256    // bytes of a key or a value
)

// tally counts which values the fields of spans have, in two groups.
type tally struct {
	fields map[traceql.Field]*fieldTally
	most   int // values of a field
	values int // of all fields
	cut    bool
}

// fieldTally counts the values of a field.
type fieldTally struct {
	traceql.Field
	values map[tallyKey]*valueTally
	cut    bool // not all values are counted
}

type tallyKey struct {
	traceql.Type
	text string
}

type valueTally struct {
	traceql.Value
	count [2]int // in each group
	last  int    // what was counted last
	set   uint64 // hash of the set of what was counted
}

var tallySeed = maphash.MakeSeed()

func newTally(most int) *tally {
	return &tally{fields: map[traceql.Field]*fieldTally{}, most: most}
}

// attributes counts the attributes of s and of its resource. What has the same number counts once.
func (t *tally) attributes(s *collector.Span, group, number int) {
	for _, from := range []struct {
		traceql.Scope
		attrs []slog.Attr
	}{{traceql.ScopeSpan, s.Attributes}, {traceql.ScopeResource, s.Resource.Attributes}} {
		for _, a := range from.attrs {
			t.add(traceql.Field{Scope: from.Scope, Key: a.Key}, traceql.ValueOf(a.Value), group, number)
		}
	}
}

// add counts a value. It keeps nothing of its arguments. A value that is counted at all is counted
// from its first occurrence on.
func (t *tally) add(f traceql.Field, v traceql.Value, group, number int) {
	if v.IsNil() || v.Type() == traceql.TypeArray || len(f.Key) > maxTallyText {
		return
	}
	of := t.fields[f]
	if of == nil {
		if len(t.fields) == maxTallyFields {
			t.cut = true
			return
		}
		f.Key = strings.Clone(f.Key)
		of = &fieldTally{Field: f, values: map[tallyKey]*valueTally{}}
		t.fields[f] = of
	}
	k := tallyKey{v.Type(), v.Text()}
	n := of.values[k]
	if n == nil {
		if len(k.text) > maxTallyText || len(of.values) == t.most || t.values == maxTallyValues {
			of.cut = true
			return
		}
		if k.text = strings.Clone(k.text); k.Type == traceql.TypeString {
			v = traceql.String(k.text)
		}
		n = &valueTally{Value: v, last: -1}
		of.values[k] = n
		t.values++
	}
	if n.last != number {
		n.last = number
		n.count[group]++
		n.set ^= maphash.Comparable(tallySeed, number)
	}
}

// meaningless are attributes whose values tell nothing.
var meaningless = map[string]bool{semconv.NetworkPeerPort: true, "client.port": true, "thread.id": true}

// condition returns the condition that f has the value v, or "" if TraceQL cannot say that.
func condition(f traceql.Field, v traceql.Value) string {
	c := "{ " + f.String() + " = " + v.String() + " }"
	if _, err := traceql.Parse(c); err != nil {
		return ""
	}
	return c
}
