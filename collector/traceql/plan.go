package traceql

import (
	"log/slog"
	"regexp/syntax"
	"slices"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// Fields returns the fields that q mentions, each once, in their order.
func (q *Query) Fields() []Field {
	var f fields
	f.stages(q.stages)
	if q.metrics != nil {
		q.metrics.fields(&f)
	}
	return f
}

// fields is a list of different fields.
type fields []Field

func (f *fields) add(field Field) {
	if !slices.Contains(*f, field) {
		*f = append(*f, field)
	}
}

func (f *fields) stages(stages []stage) {
	for _, s := range stages {
		switch s := s.(type) {
		case spansetStage:
			f.spansets(s.spansets)
		case scalarFilter:
			f.scalar(s.x)
			f.scalar(s.y)
		case groupBy:
			for _, x := range s.by {
				f.expr(x)
			}
		case selects:
			for _, field := range s.fields {
				f.add(field)
			}
		}
	}
}

func (f *fields) spansets(s spansets) {
	switch s := s.(type) {
	case filter:
		f.expr(s.condition)
	case combined:
		f.spansets(s.x)
		f.spansets(s.y)
	case nested:
		f.stages(s.stages)
	}
}

func (f *fields) scalar(s scalar) {
	switch s := s.(type) {
	case aggregate:
		f.expr(s.x)
	case scalarBinary:
		f.scalar(s.x)
		f.scalar(s.y)
	case scalarNegate:
		f.scalar(s.x)
	}
}

func (f *fields) expr(x expr) {
	switch x := x.(type) {
	case Field:
		f.add(x)
	case binary:
		f.expr(x.x)
		f.expr(x.y)
	case not:
		f.expr(x.x)
	case negate:
		f.expr(x.x)
	}
}

// Scan returns what a store has to read to evaluate q.
func (q *Query) Scan() collector.Scan {
	var s collector.Scan
	for _, f := range q.Fields() {
		switch f.Intrinsic {
		case noIntrinsic:
			switch f.Scope {
			case ScopeEvent, ScopeLink:
				s.Details = true
			case scopeAny, ScopeSpan:
				if !slices.Contains(s.Attributes, f.Key) {
					s.Attributes = append(s.Attributes, f.Key)
				}
			}
		case SpanStatusMessage, EventName, EventTimeSinceStart, LinkTraceID, LinkSpanID:
			s.Details = true
		}
	}
	h := hints{&s.Hints}
	h.stages(q.stages)
	return s
}

// countedAfter adds to the hints of q that a span counts for its metrics if it starts at t or later.
func (q *Query) countedAfter(t time.Time, h *collector.Hints) {
	var counted collector.SpanHints
	if s, ok := q.stages[0].(spansetStage); ok && len(q.stages) == 1 {
		if f, ok := s.spansets.(filter); ok { // which is all there is in h
			*h = collector.Hints{}
			hints{h}.expr(f.condition, &counted)
		}
	}
	counted.StartsAfter = t
	h.Spans = append(h.Spans, counted)
}

// hints adds to a collector.Hints what every trace has that an expression selects spans of.
type hints struct{ *collector.Hints }

func (h hints) stages(stages []stage) {
	for _, s := range stages {
		if s, ok := s.(spansetStage); ok {
			h.spansets(s.spansets)
		}
	}
}

func (h hints) spansets(s spansets) {
	switch s := s.(type) {
	case filter:
		var span collector.SpanHints
		if h.expr(s.condition, &span); !span.IsZero() {
			h.Spans = append(h.Spans, span)
		}
	case combined:
		switch {
		case s.op.or:
		case s.op.negated:
			h.spansets(s.y)
		default:
			h.spansets(s.x)
			h.spansets(s.y)
		}
	case nested:
		h.stages(s.stages)
	}
}

// mirrored has the operator for the same comparison with its sides exchanged.
var mirrored = map[Op]Op{
	OpEqual: OpEqual, OpNotEqual: OpNotEqual, OpLess: OpGreater, OpLessEqual: OpGreaterEqual, OpGreater: OpLess, OpGreaterEqual: OpLessEqual,
}

// fieldComparison returns the parts of a comparison of a field with a literal, as if the field were on the left.
func fieldComparison(x expr) (f Field, op Op, v literal, ok bool) {
	b, _ := x.(binary)
	f, isField := b.x.(Field)
	v, isLiteral := b.y.(literal)
	op = b.op
	if !isField || !isLiteral {
		f, isField = b.y.(Field)
		v, isLiteral = b.x.(literal)
		op = mirrored[b.op]
	}
	return f, op, v, isField && isLiteral && op.isComparison()
}

// expr adds what a condition for a span says about that span, which is of, and about others.
func (h hints) expr(x expr, of *collector.SpanHints) {
	if b, ok := x.(binary); ok && b.op == OpAnd {
		h.expr(b.x, of)
		h.expr(b.y, of)
		return
	}
	f, op, v, ok := fieldComparison(x)
	if !ok || v.IsNil() && op == OpEqual {
		return
	}
	var other collector.SpanHints // of the parent or the root
	if f.Parent || f.Intrinsic == TraceRootName || f.Intrinsic == TraceRootService {
		of = &other
	}
	equal := op == OpEqual
	switch f.Intrinsic {
	case noIntrinsic:
		switch f.Scope {
		case ScopeResource:
			if f.Key == "service.name" && equal && v.typ == TypeString {
				of.Services = append(of.Services, v.s)
				break
			}
			fallthrough
		case scopeAny, ScopeSpan:
			if value, ok := v.slog(); ok && equal {
				of.Values = append(of.Values, slog.Attr{Key: f.Key, Value: value})
			} else if text, ok := onlyText(v.s); ok && op == OpMatch {
				of.Texts = append(of.Texts, slog.String(f.Key, text))
			} else {
				of.Keys = append(of.Keys, f.Key)
			}
		}
	case SpanName, TraceRootName:
		if equal && v.typ == TypeString {
			of.Names = append(of.Names, v.s)
		}
	case TraceRootService:
		if equal && v.typ == TypeString && v.s != "" {
			of.Services = append(of.Services, v.s)
		}
	case SpanStatus:
		of.Errors = of.Errors || equal && v.n == int64(dendro.StatusError)
	case SpanDuration, TraceDuration:
		h.duration(f.Intrinsic, op, v.Value, of)
	}
	if !other.IsZero() {
		h.Spans = append(h.Spans, other)
	}
}

// onlyText returns the only text that a regular expression matches, if there is just one.
func onlyText(pattern string) (text string, ok bool) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpLiteral && re.Op != syntax.OpEmptyMatch || re.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	return string(re.Rune), true
}

// duration adds what a comparison of a duration says about the duration of the trace or of a span.
func (h hints) duration(i Intrinsic, op Op, v Value, of *collector.SpanHints) {
	if !v.isNumber() || v.float() < 0 || v.float() >= 1<<62 {
		return
	}
	d := time.Duration(v.float()) // rounded down
	if v.typ != TypeFloat {
		d = time.Duration(v.n)
	}
	switch op {
	case OpEqual, OpGreater, OpGreaterEqual:
		least := &h.MinDuration
		if i == SpanDuration {
			least = &of.MinDuration
		}
		*least = max(*least, d)
	}
	if i == TraceDuration && d > 0 && (op == OpEqual || op == OpLess || op == OpLessEqual) {
		if v.typ == TypeFloat {
			d++ // rounded up
		}
		if h.MaxDuration == 0 || d < h.MaxDuration {
			h.MaxDuration = d
		}
	}
}
