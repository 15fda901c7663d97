package traceql

import (
	"maps"
	"math"
	"slices"

	"github.com/dendrotrace/dendro"
)

// Spanset is a set of spans of one trace.
type Spanset struct {
	Spans []int // indices of spans of the trace, sorted
	// Attributes are what the pipeline has found out about the set: the values by which it
	// was grouped, and those of aggregates.
	Attributes []Attribute
}

// Attribute is a name and a value.
type Attribute struct {
	Name  string
	Value Value
}

// Evaluate returns the span sets of t that q selects. The trace matches q if there is one.
// Evaluate is safe for concurrent use with different traces.
func (q *Query) Evaluate(t *Trace) []Spanset { return run(q.stages, t, all(t)) }

func all(t *Trace) []int {
	spans := make([]int, len(t.Spans))
	for i := range spans {
		spans[i] = i
	}
	return spans
}

func run(stages []stage, t *Trace, spans []int) []Spanset {
	sets := []Spanset{{Spans: spans}}
	for _, s := range stages {
		if sets = s.apply(t, sets); !t.goOn(0) || len(sets) == 0 {
			return nil
		}
	}
	return slices.DeleteFunc(sets, func(s Spanset) bool { return len(s.Spans) == 0 })
}

func (s spansetStage) apply(t *Trace, in []Spanset) (out []Spanset) {
	for _, set := range in {
		if spans := s.evaluate(t, set.Spans); len(spans) > 0 {
			out = append(out, Spanset{spans, set.Attributes})
		}
	}
	return out
}

func (f filter) evaluate(t *Trace, in []int) []int {
	if f.condition == nil {
		return in
	}
	var out []int
	for n, i := range in {
		if !t.goOn(n) {
			return nil
		}
		if t.eval(f.condition, i).IsTrue() {
			out = append(out, i)
		}
	}
	return out
}

func (n nested) evaluate(t *Trace, in []int) []int {
	var out []int
	for _, s := range run(n.stages, t, in) {
		out = union(out, s.Spans)
	}
	return out
}

// union merges two sorted sets.
func union(a, b []int) []int {
	if len(a) == 0 {
		return b
	}
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (c combined) evaluate(t *Trace, in []int) []int {
	x := c.x.evaluate(t, in)
	if len(x) == 0 && (c.op.and || !c.op.or && !c.op.negated) {
		return nil
	}
	y := c.y.evaluate(t, in)
	switch {
	case c.op.or, c.op.and && len(y) > 0:
		return union(x, y)
	case c.op.and:
		return nil
	}
	related := t.related(c.op.relation, x, y)
	var out []int
	for _, i := range y {
		if related[i] != c.op.negated {
			out = append(out, i)
		}
	}
	if c.op.union {
		back := t.related(inverse[c.op.relation], y, x)
		for _, i := range x {
			if back[i] {
				out = append(out, i)
			}
		}
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// inverse has the relation of x to y, given that of y to x.
var inverse = [...]relation{child: parent, descendant: ancestor, parent: child, ancestor: descendant, sibling: sibling}

// related reports for each span whether it is in y and a child of a span of x, and so on. It
// takes time in proportion to the number of spans.
func (t *Trace) related(r relation, x, y []int) []bool {
	in, out := make([]bool, len(t.Spans)), make([]bool, len(t.Spans))
	for _, i := range x {
		in[i] = true
	}
	switch r {
	case child:
		for _, i := range y {
			out[i] = t.parent(i) >= 0 && in[t.parent(i)]
		}
	case parent:
		for _, i := range y {
			out[i] = slices.ContainsFunc(t.childrenOf(i), func(c int) bool { return in[c] })
		}
	case descendant:
		known := make([]answer, len(t.Spans))
		for _, i := range y {
			out[i] = t.isBelow(i, in, known)
		}
	case ancestor:
		above := make([]bool, len(t.Spans))
		for _, i := range x {
			for p, steps := t.parent(i), 0; p >= 0 && !above[p] && steps <= len(t.Spans); p, steps = t.parent(p), steps+1 {
				above[p] = true
			}
		}
		for _, i := range y {
			out[i] = above[i]
		}
	case sibling:
		// How many spans of x have a parent. Spans whose parent has not arrived are
		// siblings, too, if they name the same one.
		families := map[dendro.SpanID]int{}
		for _, i := range x {
			if s := &t.Spans[i]; s.ParentID.IsValid() {
				families[s.ParentID]++
			}
		}
		for _, i := range y {
			n := families[t.Spans[i].ParentID]
			if in[i] {
				n-- // a span is no sibling of itself
			}
			out[i] = t.Spans[i].ParentID.IsValid() && n > 0
		}
	}
	return out
}

// answer is what is known about a span.
type answer byte

const (
	unknown answer = iota
	no
	yes
)

// isBelow reports whether an ancestor of span i is in set. known has the answers found so
// far.
func (t *Trace) isBelow(i int, set []bool, known []answer) bool {
	result := no
	steps := 0
	for at := i; steps <= len(t.Spans); steps++ {
		if known[at] != unknown {
			result = known[at]
			break
		}
		p := t.parent(at)
		if p < 0 {
			break
		}
		if set[p] {
			result = yes
			break
		}
		at = p
	}
	for at := i; at >= 0 && known[at] == unknown; at = t.parent(at) {
		known[at] = result
		if p := t.parent(at); p >= 0 && set[p] && result == yes {
			break // what is above is another question
		}
	}
	return result == yes
}

// eval returns the value of x for span i.
func (t *Trace) eval(x expr, i int) Value {
	switch x := x.(type) {
	case literal:
		return x.Value
	case Field:
		return t.value(x, i)
	case not:
		return Bool(!t.eval(x.x, i).IsTrue())
	case negate:
		return arithmetic(OpSubtract, Int(0), t.eval(x.x, i))
	case binary:
		switch {
		case x.op == OpAnd:
			return Bool(t.eval(x.x, i).IsTrue() && t.eval(x.y, i).IsTrue())
		case x.op == OpOr:
			return Bool(t.eval(x.x, i).IsTrue() || t.eval(x.y, i).IsTrue())
		case x.op.isArithmetic():
			return arithmetic(x.op, t.eval(x.x, i), t.eval(x.y, i))
		}
		a, b := t.eval(x.x, i), t.eval(x.y, i)
		if isNil(x.x) || isNil(x.y) {
			return Bool((a.IsNil() && b.IsNil()) == (x.op == OpEqual))
		}
		return Bool(satisfies(a, x.op, b, x.re))
	}
	return Value{}
}

// arithmetic returns a op b, or nil if one of them is not a number. The result is an integer
// if both are, except that of a division with a remainder and of a power that is too large.
// It is a duration if it is the sum or the difference of a duration and a number, or the
// product or the quotient of a duration by a number.
func arithmetic(op Op, a, b Value) Value {
	if !a.isNumber() || !b.isNumber() {
		return Value{}
	}
	if a.typ != TypeFloat && b.typ != TypeFloat {
		if n, ok := integers(op, a.n, b.n); ok {
			return Value{typ: resultType(op, a.typ, b.typ), n: n}
		}
	}
	x, y := a.float(), b.float()
	var f float64
	switch op {
	case OpAdd:
		f = x + y
	case OpSubtract:
		f = x - y
	case OpMultiply:
		f = x * y
	case OpDivide:
		f = x / y
	case OpModulo:
		f = math.Mod(x, y)
	case OpPower:
		f = math.Pow(x, y)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	if resultType(op, a.typ, b.typ) == TypeDuration && math.Abs(f) < 1<<62 {
		return Value{typ: TypeDuration, n: int64(math.Round(f))}
	}
	return Float(f)
}

func resultType(op Op, a, b Type) Type {
	durations := 0
	for _, t := range []Type{a, b} {
		if t == TypeDuration {
			durations++
		}
	}
	switch {
	case durations == 0 && a == TypeInt && b == TypeInt:
		return TypeInt
	case durations == 0, op == OpPower, op == OpDivide && b == TypeDuration, op == OpMultiply && durations == 2:
		return TypeFloat
	}
	return TypeDuration
}

// integers returns a op b if it is an integer of 64 bits.
func integers(op Op, a, b int64) (n int64, ok bool) {
	switch op {
	case OpAdd:
		n = a + b
		return n, (n > a) == (b > 0)
	case OpSubtract:
		n = a - b
		return n, (n < a) == (b > 0)
	case OpMultiply:
		if a == 0 || b == 0 {
			return 0, true
		}
		n = a * b
		return n, n/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
	case OpDivide:
		if b == 0 || a == math.MinInt64 && b == -1 || a%b != 0 {
			return 0, false
		}
		return a / b, true
	case OpModulo:
		if b == 0 || b == -1 {
			return 0, b == -1
		}
		return a % b, true
	}
	return 0, false
}

func (s scalarFilter) apply(t *Trace, in []Spanset) (out []Spanset) {
	for _, set := range in {
		x, y := s.x.value(t, set.Spans), s.y.value(t, set.Spans)
		if !satisfies(x, s.op, y, nil) {
			continue
		}
		attrs := slices.Clone(set.Attributes)
		for _, side := range []struct {
			of    scalar
			value Value
		}{{s.x, x}, {s.y, y}} {
			if _, ok := side.of.(literal); !ok {
				var p printer
				side.of.print(&p, 0)
				attrs = append(attrs, Attribute{p.Builder.String(), side.value})
			}
		}
		out = append(out, Spanset{set.Spans, attrs})
	}
	return out
}

func (l literal) value(*Trace, []int) Value { return l.Value }

func (s scalarNegate) value(t *Trace, spans []int) Value {
	return arithmetic(OpSubtract, Int(0), s.x.value(t, spans))
}

func (s scalarBinary) value(t *Trace, spans []int) Value {
	return arithmetic(s.op, s.x.value(t, spans), s.y.value(t, spans))
}

// value ignores spans for which the field is not a number. Without any, it is nil.
func (a aggregate) value(t *Trace, spans []int) (result Value) {
	if a.function == "count" {
		return Int(int64(len(spans)))
	}
	n := 0
	for _, i := range spans {
		v := t.eval(a.x, i)
		if !v.isNumber() {
			continue
		}
		n++
		order, _ := compare(v, result)
		switch {
		case n == 1, a.function == "min" && order < 0, a.function == "max" && order > 0:
			result = v
		case a.function == "sum", a.function == "avg":
			result = arithmetic(OpAdd, result, v)
		}
	}
	if a.function == "avg" && n > 0 {
		result = arithmetic(OpDivide, result, Int(int64(n)))
	}
	return result
}

func (g groupBy) apply(t *Trace, in []Spanset) (out []Spanset) {
	for _, set := range in {
		groups := map[string]*Spanset{}
		for _, i := range set.Spans {
			key, attrs := "", slices.Clone(set.Attributes)
			for _, x := range g.by {
				var p printer
				x.print(&p, 1)
				v := t.eval(x, i)
				attrs = append(attrs, Attribute{"by(" + p.Builder.String() + ")", v})
				key += v.String() + "\x00"
			}
			if groups[key] == nil {
				groups[key] = &Spanset{Attributes: attrs}
			}
			groups[key].Spans = append(groups[key].Spans, i)
		}
		for _, key := range slices.Sorted(maps.Keys(groups)) {
			out = append(out, *groups[key])
		}
	}
	return out
}

func (selects) apply(_ *Trace, in []Spanset) []Spanset { return in }

func (coalesce) apply(_ *Trace, in []Spanset) []Spanset {
	var out Spanset
	for _, s := range in {
		out.Spans = union(out.Spans, s.Spans)
	}
	return []Spanset{out}
}
