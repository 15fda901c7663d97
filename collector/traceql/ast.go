// Package traceql finds traces with TraceQL, the query language of Grafana Tempo
// (https://grafana.com/docs/tempo/latest/traceql/).
//
//	q, err := traceql.Parse(`{ resource.service.name = "shop" && duration > 1s }`)
//	found, stats, err := q.Search(ctx, store, traceql.SearchOptions{})
//
// A [Query] is evaluated on one trace at a time, by [Query.Evaluate]. It selects sets of
// spans, and the trace matches if there is one. [Query.Search] reads the traces of a
// [collector.Reader], which skips what [Query.Scan] lets it skip.
//
// Unlike Tempo, it compares numbers by value, whether they are integers, floats or
// durations, matches regular expressions with the text of values of any type, and knows the
// attributes of parents.
//
// A query that ends with a function such as rate() makes time series of the spans instead:
// see [Query.Metrics].
package traceql

import "regexp"

// Op is an operator of expressions about a span.
type Op uint8

// Operators, in groups of equal precedence from the weakest to the strongest.
const (
	OpAnd Op = iota
	OpOr

	OpEqual
	OpNotEqual
	OpLess
	OpLessEqual
	OpGreater
	OpGreaterEqual
	OpMatch
	OpNotMatch

	OpAdd
	OpSubtract

	OpNot // and the sign of a number

	OpMultiply
	OpDivide
	OpModulo

	OpPower
)

var opNames = [...]string{"&&", "||", "=", "!=", "<", "<=", ">", ">=", "=~", "!~", "+", "-", "!", "*", "/", "%", "^"}

// String returns op as it is written in a query.
func (op Op) String() string { return opNames[op] }

var binaryOps = func() map[string]Op {
	ops := map[string]Op{}
	for op, name := range opNames {
		if Op(op) != OpNot {
			ops[name] = Op(op)
		}
	}
	return ops
}()

func (op Op) precedence() int {
	switch {
	case op <= OpOr:
		return 1
	case op <= OpNotMatch:
		return 2
	case op <= OpSubtract:
		return 3
	case op == OpNot:
		return 4
	case op <= OpModulo:
		return 5
	}
	return 6
}

func (op Op) isComparison() bool { return OpEqual <= op && op <= OpNotMatch }
func (op Op) isArithmetic() bool { return op >= OpAdd && op != OpNot }

// expr is an expression about a span.
type expr interface {
	print(p *printer, precedence int)
}

type (
	literal struct{ Value }
	binary  struct {
		op   Op
		x, y expr
		re   *regexp.Regexp // of OpMatch and OpNotMatch
	}
	not    struct{ x expr }
	negate struct{ x expr }
)

// relation is how two spans are related in a trace.
type relation uint8

const (
	noRelation relation = iota
	child
	descendant
	parent
	ancestor
	sibling
)

var relationNames = [...]string{"", ">", ">>", "<", "<<", "~"}

// combination is an operator of span sets.
type combination struct {
	name     string
	relation relation
	negated  bool // spans without the relation
	union    bool // spans of both sides
	and, or  bool
}

var combinations = func() map[string]combination {
	all := map[string]combination{"&&": {name: "&&", and: true}, "||": {name: "||", or: true}}
	for r, name := range relationNames {
		if name != "" {
			all[name] = combination{name: name, relation: relation(r)}
			all["!"+name] = combination{name: "!" + name, relation: relation(r), negated: true}
			all["&"+name] = combination{name: "&" + name, relation: relation(r), union: true}
		}
	}
	return all
}()

func (c combination) precedence() int {
	if c.and || c.or {
		return 1
	}
	return 2
}

// spansets is an expression for sets of spans.
type spansets interface {
	print(p *printer, precedence int)
	// evaluate returns the spans of in, in order.
	evaluate(t *Trace, in []int) []int
}

type (
	// filter selects spans. A nil condition selects all.
	filter   struct{ condition expr }
	combined struct {
		op   combination
		x, y spansets
	}
	// nested is a pipeline in parentheses.
	nested struct{ stages []stage }
)

// stage is a stage of a pipeline.
type stage interface {
	print(p *printer)
	// apply returns what becomes of the span sets of a trace.
	apply(t *Trace, in []Spanset) []Spanset
}

type (
	spansetStage struct{ spansets }
	scalarFilter struct {
		op   Op
		x, y scalar
	}
	groupBy  struct{ by []expr }
	selects  struct{ fields []Field }
	coalesce struct{}
)

// scalar is a number about a set of spans.
type scalar interface {
	print(p *printer, precedence int)
	value(t *Trace, spans []int) Value
}

type (
	aggregate struct {
		function string // count, avg, min, max or sum
		x        expr   // nil for count
	}
	scalarBinary struct {
		op   Op
		x, y scalar
	}
	scalarNegate struct{ x scalar }
)

// Query is a parsed query. It is immutable.
type Query struct {
	stages  []stage
	metrics *metrics      // nil if q finds traces
	series  []seriesStage // after metrics
	hints   []Hint
}

// Hint is a hint of a query: with(name=value).
type Hint struct {
	Name  string
	Value Value
}

// All returns the query { }, which selects all spans.
func All() *Query { return &Query{stages: []stage{spansetStage{filter{}}}} }

// And returns a query for the traces that match q and other, with the spans that either
// selects. It has no hints.
func (q *Query) And(other *Query) *Query {
	return &Query{stages: []stage{spansetStage{combined{combinations["&&"], q.operand(), other.operand()}}}}
}

// Conjuncts returns the queries that && combines to q, in their order, or else q itself.
func (q *Query) Conjuncts() (out []*Query) {
	var split func(s spansets)
	split = func(s spansets) {
		if c, ok := s.(combined); ok && c.op.and {
			split(c.x)
			split(c.y)
			return
		}
		stages := []stage{spansetStage{s}}
		if n, ok := s.(nested); ok {
			stages = n.stages
		}
		out = append(out, &Query{stages: stages})
	}
	if s, ok := q.stages[0].(spansetStage); ok && len(q.stages) == 1 && q.metrics == nil {
		split(s.spansets)
		return out
	}
	return []*Query{q}
}

// First returns the first stage of q as a query: what comes before the first |.
func (q *Query) First() *Query { return &Query{stages: q.stages[:1]} }

// operand returns q as an operand of span sets.
func (q *Query) operand() spansets {
	if s, ok := q.stages[0].(spansetStage); ok && len(q.stages) == 1 {
		return s.spansets
	}
	return nested{q.stages}
}
