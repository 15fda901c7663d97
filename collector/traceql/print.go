package traceql

import "strings"

// printer writes queries.
type printer struct{ strings.Builder }

// String returns q in a normal form, which Parse accepts and returns unchanged.
func (q *Query) String() string {
	var p printer
	p.pipeline(q.stages)
	if q.metrics != nil {
		p.WriteString(" | ")
		q.metrics.print(&p)
	}
	for _, s := range q.series {
		s.print(&p)
	}
	for i, h := range q.hints {
		p.WriteString([]string{" with(", ", "}[min(i, 1)] + h.Name + "=" + h.Value.String())
	}
	if len(q.hints) > 0 {
		p.WriteString(")")
	}
	return p.Builder.String()
}

func (p *printer) pipeline(stages []stage) {
	for i, s := range stages {
		if i > 0 {
			p.WriteString(" | ")
		}
		s.print(p)
	}
}

// operators prints x op y, in parentheses if the precedence of op is too low.
func (p *printer) operators(op string, own, precedence int, x, y func(precedence int)) {
	open := own < precedence
	if open {
		p.WriteString("(")
	}
	right := own + 1
	left := own
	if op == "^" {
		left, right = own+1, own
	}
	x(left)
	p.WriteString(" " + op + " ")
	y(right)
	if open {
		p.WriteString(")")
	}
}

func (l literal) print(p *printer, precedence int) {
	if l.isNumber() && l.float() < 0 && precedence > OpNot.precedence() {
		p.WriteString("(" + l.Value.String() + ")")
		return
	}
	p.WriteString(l.Value.String())
}

func (f Field) print(p *printer, _ int) { p.WriteString(f.String()) }

func (b binary) print(p *printer, precedence int) {
	own := b.op.precedence()
	p.operators(b.op.String(), own, precedence,
		func(n int) {
			if b.op.isComparison() {
				n = own + 1
			}
			b.x.print(p, n)
		},
		func(n int) { b.y.print(p, n) })
}

func (n not) print(p *printer, precedence int) { p.unary("!", n.x, precedence) }

func (n negate) print(p *printer, precedence int) { p.unary("-", n.x, precedence) }

func (p *printer) unary(op string, x expr, precedence int) {
	open := OpNot.precedence() < precedence
	if open {
		p.WriteString("(")
	}
	p.WriteString(op)
	x.print(p, OpNot.precedence())
	if open {
		p.WriteString(")")
	}
}

func (f filter) print(p *printer, _ int) {
	if f.condition == nil {
		p.WriteString("{ }")
		return
	}
	p.WriteString("{ ")
	f.condition.print(p, 1)
	p.WriteString(" }")
}

func (c combined) print(p *printer, precedence int) {
	p.operators(c.op.name, c.op.precedence(), precedence, func(n int) { c.x.print(p, n) }, func(n int) { c.y.print(p, n) })
}

func (n nested) print(p *printer, _ int) {
	p.WriteString("(")
	p.pipeline(n.stages)
	p.WriteString(")")
}

func (s spansetStage) print(p *printer) { s.spansets.print(p, 1) }

func (s scalarFilter) print(p *printer) {
	s.x.print(p, OpAdd.precedence())
	p.WriteString(" " + s.op.String() + " ")
	s.y.print(p, OpAdd.precedence())
}

func (a aggregate) print(p *printer, _ int) {
	p.WriteString(a.function + "(")
	if a.x != nil {
		a.x.print(p, OpAdd.precedence())
	}
	p.WriteString(")")
}

func (s scalarBinary) print(p *printer, precedence int) {
	p.operators(s.op.String(), s.op.precedence(), precedence, func(n int) { s.x.print(p, n) }, func(n int) { s.y.print(p, n) })
}

func (s scalarNegate) print(p *printer, precedence int) {
	open := OpNot.precedence() < precedence
	if open {
		p.WriteString("(")
	}
	p.WriteString("-")
	s.x.print(p, OpNot.precedence())
	if open {
		p.WriteString(")")
	}
}

func (g groupBy) print(p *printer) {
	p.WriteString("by(")
	for i, x := range g.by {
		if i > 0 {
			p.WriteString(", ")
		}
		x.print(p, 1)
	}
	p.WriteString(")")
}

func (s selects) print(p *printer) {
	p.WriteString("select(")
	for i, f := range s.fields {
		if i > 0 {
			p.WriteString(", ")
		}
		p.WriteString(f.String())
	}
	p.WriteString(")")
}

func (coalesce) print(p *printer) { p.WriteString("coalesce()") }

// quote returns s in double quotes, as the name of an attribute.
func quote(s string) string { return Value{typ: TypeString, s: s}.String() }
