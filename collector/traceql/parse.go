package traceql

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Parse parses a query. Its error is an [*Error].
func Parse(query string) (*Query, error) {
	p := &parser{lexer: lexer{query: query}}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q, nil
}

// maxDepth bounds how deeply expressions may be nested.
const maxDepth = 100

// parser is a recursive descent parser. Its methods panic with an *Error, which query
// returns.
type parser struct {
	lexer
	token token // the next one
	ended int   // where the token before it ended
	depth int
}

func (p *parser) query() (q *Query, err *Error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			q, err = nil, e
		}
	}()
	p.advance()
	if p.token.kind == eof {
		p.fail(0, "a query must begin with {, as in { status = error }")
	}
	q = new(Query)
	q.stages, q.metrics, q.series = p.root()
	if p.token.kind == word && p.token.text == "with" {
		p.advance()
		q.hints = p.hintList()
	}
	if p.token.kind != eof {
		p.unexpected("expected | or the end of the query")
	}
	return q, nil
}

func (p *parser) fail(at int, format string, args ...any) {
	panic(errorAt(p.lexer.query, at, format, args...))
}

// unexpected fails at the next token.
func (p *parser) unexpected(want string) {
	at, found := p.token.at, ", found "+p.token.text
	if p.token.kind == eof {
		found = ""
	}
	p.fail(at, "%s%s", want, found)
}

func (p *parser) advance() {
	p.ended = p.token.end
	t, err := p.lexer.next()
	if err != nil {
		panic(err)
	}
	p.token = t
}

// take skips the next token if it is op.
func (p *parser) take(op string) bool {
	if p.token.kind != operator || p.token.text != op {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(op, after string) {
	if !p.take(op) {
		p.unexpected("expected " + op + " after " + after)
	}
}

func (p *parser) enter() func() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.token.at, "the query is nested too deeply")
	}
	return func() { p.depth-- }
}

// root parses the pipeline of a query, which may end with metrics.
func (p *parser) root() (stages []stage, m *metrics, series []seriesStage) {
	for {
		if _, ok := metricsFunctions[p.token.text]; ok && p.token.kind == word && len(stages) > 0 {
			m, series = p.metricsStage()
			return stages, m, series
		}
		stages = append(stages, p.stage(len(stages) == 0))
		if !p.take("|") {
			return stages, nil, nil
		}
	}
}

func (p *parser) pipeline() (stages []stage) {
	for {
		stages = append(stages, p.stage(len(stages) == 0))
		if !p.take("|") {
			return stages
		}
	}
}

// functions are the words that begin a stage.
var functions = append([]string{"by", "select", "coalesce", "count", "avg", "min", "max", "sum"}, slices.Sorted(maps.Keys(metricsFunctions))...)

func (p *parser) stage(first bool) stage {
	defer p.enter()()
	if p.token.kind == word {
		at, name := p.token.at, p.token.text
		switch name {
		case "by":
			p.advance()
			return p.groupBy()
		case "select":
			p.advance()
			return p.selects()
		case "coalesce":
			p.advance()
			p.expect("(", "coalesce")
			p.expect(")", "coalesce(")
			return coalesce{}
		case "count", "avg", "min", "max", "sum":
			return p.scalarFilter()
		}
		if first {
			if _, ok := intrinsics[name]; ok {
				p.fail(at, "a condition must be in braces: { %s … }", name)
			}
			p.fail(at, "a query must begin with {, as in { status = error }")
		}
		if name == "topk" || name == "bottomk" {
			p.fail(at, "%s needs series, as in { } | rate() by(name) | %[1]s(5)", name)
		}
		p.fail(at, "unknown function %s%s", name, suggestion(near(name, functions), name))
	}
	if p.token.kind == field && first {
		p.fail(p.token.at, "a condition must be in braces: { %s … }", p.token.text)
	}
	if p.token.kind == operator && (p.token.text == "{" || p.token.text == "(") {
		return spansetStage{p.spansets(1)}
	}
	switch {
	case p.token.kind == number || p.token.kind == operator && p.token.text == "-":
		return p.scalarFilter()
	case first:
		p.unexpected("a query must begin with {, as in { status = error }")
	}
	p.unexpected("expected a span set in braces or a function after |")
	return nil
}

func near(name string, words []string) (out []string) {
	for _, w := range words {
		if isNear(name, w) {
			out = append(out, w)
		}
	}
	return out
}

// spansets parses operators of at least this precedence.
func (p *parser) spansets(precedence int) spansets {
	defer p.enter()()
	x := p.spanset()
	for p.token.kind == operator {
		op, ok := combinations[p.token.text]
		if !ok || op.precedence() < precedence {
			break
		}
		p.advance()
		x = combined{op, x, p.spansets(op.precedence() + 1)}
	}
	return x
}

func (p *parser) spanset() spansets {
	defer p.enter()()
	switch {
	case p.take("{"):
		if p.take("}") {
			return filter{}
		}
		at := p.token.at
		x := p.condition(p.expr(1), at)
		p.expect("}", "the condition")
		return filter{x}
	case p.take("("):
		stages := p.pipeline()
		p.expect(")", "the pipeline")
		if s, ok := stages[0].(spansetStage); ok && len(stages) == 1 {
			return s.spansets
		}
		return nested{stages}
	}
	p.unexpected("expected a span set in braces")
	return nil
}

// expr parses operators of at least this precedence.
func (p *parser) expr(precedence int) expr {
	defer p.enter()()
	at := p.token.at
	x := p.operand()
	for p.token.kind == operator {
		op, ok := binaryOps[p.token.text]
		if !ok {
			if p.token.text == ">>" || p.token.text == "<<" || p.token.text == "~" {
				p.fail(p.token.at, "%s is for span sets: { … } %[1]s { … }", p.token.text)
			}
			break
		}
		if op.precedence() < precedence {
			break
		}
		opAt := p.token.at
		p.advance()
		if op == OpEqual && p.token.kind == operator && p.token.text == "=" {
			p.fail(opAt, "== is written =")
		}
		right := op.precedence() + 1
		if op == OpPower {
			right = op.precedence()
		}
		yAt := p.token.at
		if p.token.kind == eof || p.token.kind == operator && (p.token.text == "}" || p.token.text == ")") {
			p.fail(p.token.at, "expected a value after %q", op)
		}
		x = p.binary(op, opAt, x, at, p.expr(right), yAt)
		if op.isComparison() && precedence > 2 {
			break
		}
	}
	return x
}

func (p *parser) operand() expr {
	defer p.enter()()
	t := p.token
	switch {
	case p.take("("):
		x := p.expr(1)
		p.expect(")", "the expression")
		return x
	case p.take("!"):
		at := p.token.at
		return not{p.condition(p.expr(OpNot.precedence()), at)}
	case p.take("-"):
		at := p.token.at
		switch x := p.expr(OpNot.precedence()).(type) {
		case literal:
			if x.isNumber() {
				x.n, x.f = -x.n, -x.f
				return x
			}
			p.fail(at, "%s is not a number", x.Value)
		case expr:
			p.number(x, at)
			return negate{x}
		}
	}
	switch t.kind {
	case number, text:
		p.advance()
		return literal{t.value}
	case field:
		p.advance()
		return t.field
	case word:
		p.advance()
		return p.word(t)
	}
	p.unexpected("expected a field or a value")
	return nil
}

// constants are words for values.
var constants = map[string]Value{
	"true": Bool(true), "false": Bool(false), "nil": {},
	"minInt": Int(-1 << 63), "maxInt": Int(1<<63 - 1),
	"error": Status(dendro.StatusError), "ok": Status(dendro.StatusOK), "unset": Status(dendro.StatusUnset),
	"internal": Kind(dendro.KindInternal), "server": Kind(dendro.KindServer), "client": Kind(dendro.KindClient),
	"producer": Kind(dendro.KindProducer), "consumer": Kind(dendro.KindConsumer), "unspecified": Kind(dendro.KindUnspecified),
}

func (p *parser) word(t token) expr {
	if v, ok := constants[t.text]; ok {
		return literal{v}
	}
	if i, ok := intrinsics[t.text]; ok {
		return Field{Intrinsic: i}
	}
	if t.text == "parent" {
		return Field{Intrinsic: SpanParentID}
	}
	var words []string
	for w := range constants {
		words = append(words, w)
	}
	for w := range intrinsics {
		words = append(words, w)
	}
	hint := suggestion(near(t.text, words), t.text)
	if hint == "" {
		hint = "; an attribute begins with its scope or a dot, as in ." + t.text + ", and a text is in quotes"
	}
	p.fail(t.at, "unknown word %s%s", t.text, hint)
	return nil
}

// binary returns x op y after checking the types.
func (p *parser) binary(op Op, at int, x expr, xAt int, y expr, yAt int) expr {
	switch {
	case op == OpAnd || op == OpOr:
		return binary{op, p.condition(x, xAt), p.condition(y, yAt), nil}
	case op.isArithmetic():
		p.number(x, xAt)
		p.number(y, yAt)
		return binary{op, x, y, nil}
	case op == OpMatch || op == OpNotMatch:
		pattern, ok := y.(literal)
		if !ok || pattern.typ != TypeString {
			p.fail(yAt, "expected a regular expression in quotes after %s", op)
		}
		re, err := regexp.Compile(`^(?s:` + pattern.s + `)$`)
		if err != nil {
			p.fail(yAt, "%s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), re2Wrapper(pattern.s), pattern.s), "error parsing "))
		}
		if t := typeOf(x); t == TypeBool && isCondition(x) {
			p.fail(xAt, "expected a field before %s", op)
		}
		return binary{op, x, y, re}
	}
	a, b := typeOf(x), typeOf(y)
	if l, ok := y.(literal); ok && l.IsNil() || isNil(x) {
		if op != OpEqual && op != OpNotEqual {
			p.fail(at, "nil can only be compared by = and !=")
		}
		return binary{op, x, y, nil}
	}
	if a != anyType && b != anyType && !comparable(a, b) {
		p.fail(at, "%s is compared with %s, which is never the same", describeType(a), describeType(b))
	}
	if (a == TypeBool || b == TypeBool) && op != OpEqual && op != OpNotEqual {
		p.fail(at, "true and false can only be compared by = and !=")
	}
	return binary{op, x, y, nil}
}

func re2Wrapper(pattern string) string { return `^(?s:` + pattern + `)$` }

func isNil(x expr) bool {
	l, ok := x.(literal)
	return ok && l.IsNil()
}

// anyType is the type of an attribute.
const anyType Type = 255

// typeOf returns the type of x, or anyType if it depends on the span.
func typeOf(x expr) Type {
	switch x := x.(type) {
	case literal:
		return x.typ
	case Field:
		switch x.Intrinsic {
		case noIntrinsic:
			return anyType
		case SpanDuration, TraceDuration, EventTimeSinceStart:
			return TypeDuration
		case SpanStatus:
			return TypeStatus
		case SpanKind:
			return TypeKind
		case SpanChildCount, NestedSetLeft, NestedSetRight, NestedSetParent:
			return TypeInt
		}
		return TypeString
	case binary:
		if x.op.isArithmetic() {
			return TypeFloat
		}
		return TypeBool
	case not:
		return TypeBool
	}
	return TypeFloat
}

func isNumeric(t Type) bool { return t == TypeInt || t == TypeFloat || t == TypeDuration }

func comparable(a, b Type) bool { return a == b || isNumeric(a) && isNumeric(b) }

func describeType(t Type) string {
	switch t {
	case TypeInt, TypeFloat:
		return "a number"
	case TypeDuration:
		return "a duration"
	case TypeBool:
		return "true or false"
	case TypeString:
		return "a text"
	case TypeStatus:
		return "a status"
	case TypeKind:
		return "a kind"
	}
	return "nil"
}

// number fails unless x may be a number.
func (p *parser) number(x expr, at int) {
	if t := typeOf(x); t != anyType && !isNumeric(t) {
		p.fail(at, "expected a number, found %s", describeType(t))
	}
}

// isCondition reports whether x is true or false by itself.
func isCondition(x expr) bool { return typeOf(x) == TypeBool }

// condition returns x as a condition: an attribute alone is one of which the value must be
// true.
func (p *parser) condition(x expr, at int) expr {
	switch t := typeOf(x); t {
	case TypeBool:
		return x
	case anyType:
		return binary{OpEqual, x, literal{Bool(true)}, nil}
	default:
		p.fail(at, "expected a condition, as in { duration > 1s }, found %s", describeType(t))
		return nil
	}
}

func (p *parser) scalarFilter() stage {
	at := p.token.at
	x := p.scalar(OpAdd.precedence())
	op, ok := binaryOps[p.token.text]
	if p.token.kind != operator || !ok || !op.isComparison() || op == OpMatch || op == OpNotMatch {
		if a, ok := x.(aggregate); ok {
			p.unexpected("expected a comparison after " + a.function + "(…), such as > 2")
		}
		p.fail(at, "expected a comparison, such as count() > 2")
	}
	p.advance()
	return scalarFilter{op, x, p.scalar(OpAdd.precedence())}
}

func (p *parser) scalar(precedence int) scalar {
	defer p.enter()()
	x := p.scalarOperand()
	for p.token.kind == operator {
		op, ok := binaryOps[p.token.text]
		if !ok || !op.isArithmetic() || op.precedence() < precedence {
			break
		}
		p.advance()
		right := op.precedence() + 1
		if op == OpPower {
			right = op.precedence()
		}
		x = scalarBinary{op, x, p.scalar(right)}
	}
	return x
}

func (p *parser) scalarOperand() scalar {
	defer p.enter()()
	t := p.token
	switch {
	case p.take("("):
		x := p.scalar(OpAdd.precedence())
		p.expect(")", "the expression")
		return x
	case p.take("-"):
		return scalarNegate{p.scalar(OpNot.precedence())}
	case t.kind == number:
		p.advance()
		return literal{t.value}
	case t.kind == word && (t.text == "minInt" || t.text == "maxInt"):
		p.advance()
		return literal{constants[t.text]}
	case t.kind == word:
		a := aggregate{function: t.text}
		switch t.text {
		case "count":
			p.advance()
			p.expect("(", t.text)
			p.expect(")", "count(")
			return a
		case "avg", "min", "max", "sum":
			p.advance()
			p.expect("(", t.text)
			at := p.token.at
			a.x = p.expr(OpAdd.precedence())
			p.number(a.x, at)
			p.expect(")", "the field")
			return a
		}
	}
	p.unexpected("expected a number or a function such as count()")
	return nil
}

func (p *parser) groupBy() stage {
	p.expect("(", "by")
	var g groupBy
	for {
		g.by = append(g.by, p.expr(1))
		if !p.take(",") {
			break
		}
	}
	p.expect(")", "the fields")
	return g
}

func (p *parser) selects() stage {
	p.expect("(", "select")
	var s selects
	for {
		t := p.token
		f, ok := Field{}, false
		if t.kind == field || t.kind == word {
			f, ok = p.operand().(Field)
		}
		if !ok {
			p.fail(t.at, "expected a field")
		}
		s.fields = append(s.fields, f)
		if !p.take(",") {
			break
		}
	}
	p.expect(")", "the fields")
	return s
}

func (p *parser) hintList() (hints []Hint) {
	p.expect("(", "with")
	for {
		name := p.token
		if name.kind != word {
			p.unexpected("expected the name of a hint")
		}
		p.advance()
		p.expect("=", "the name of the hint")
		at := p.token.at
		v, ok := p.operand().(literal)
		if !ok {
			p.fail(at, "expected a value")
		}
		hints = append(hints, Hint{name.text, v.Value})
		if !p.take(",") {
			break
		}
	}
	p.expect(")", "the hints")
	return hints
}
