package keep

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// longPoolWait is the wait for a connection to a database from which on a trace is kept.
const longPoolWait = 100 * time.Millisecond

// innerLimit is the number of slow traces a second of an operation that another service has called. A
// trace is judged as slow where it begins; a request that is slow inside and whose whole is not is seldom kept.
const innerLimit = 1.0 / 60

// findingLimit is the number of traces a second of an operation that are kept because of repeated statements or a wait: an
// operation that has these has them all the time.
const findingLimit = 0.1

// verdict is why a trace is kept.
type verdict struct {
	reason string // "" if it is not
	weight float64
	span   *dendro.SpanData // that gets the reason
}

// findings are what is wrong in the spans of a batch.
type findings struct {
	root                              *dendro.SpanData // of the local trace
	failed, kept, repeats, wait, attr *dendro.SpanData // the first span with that
	reason                            string           // of kept
}

func (r *Recorder) find(spans []*dendro.SpanData) (f findings) {
	for _, s := range spans {
		if !s.ParentID.IsValid() || s.Remote {
			f.root = s
		}
		if s.Status.Code == dendro.StatusError && f.failed == nil {
			f.failed = s
		}
		for i := range s.Events {
			switch e := &s.Events[i]; {
			case e.Name == semconv.DBRepeatedEvent:
				f.repeats = s
			case e.Name == semconv.PoolWaitEvent && e.Duration >= longPoolWait:
				f.wait = s
			}
		}
		for i := range s.Attributes {
			if s.Attributes[i].Key == dendro.KeepReason {
				f.kept, f.reason = s, s.Attributes[i].Value.String()
			}
		}
		if len(r.attributes) > 0 && f.attr == nil && matches(s, r.attributes) {
			f.attr = s
		}
	}
	return f
}

// matches reports whether s has one of the attributes.
func matches(s *dendro.SpanData, wanted []attribute) bool {
	for i := range s.Attributes {
		for _, w := range wanted {
			if a := &s.Attributes[i]; a.Key == w.key && (w.any || a.Value.String() == w.value) {
				return true
			}
		}
	}
	return false
}

// attribute is one of Options.Attributes or Options.Baggage.
type attribute struct {
	key, value string
	any        bool // whatever the value
}

func parseAttributes(texts []string) (out []attribute) {
	for _, text := range texts {
		key, value, has := strings.Cut(text, "=")
		out = append(out, attribute{key, value, !has})
	}
	return out
}

// judge counts a batch, which has spans of one trace, and says whether to keep the trace.
func (r *Recorder) judge(b *dendro.Batch, p float64) verdict {
	f := r.find(b.Spans)
	op, isNew, slow, ordinary := &r.operations.other, false, 0.0, 0.0
	if f.root != nil {
		op, isNew = r.operations.of(f.root)
		slow, ordinary = op.seen(f.root.Duration(), f.root.End, p, r.slow)
	}
	begins := f.root != nil && !f.root.ParentID.IsValid() // the trace begins here
	at := func(s *dendro.SpanData) *dendro.SpanData {
		if f.root != nil {
			return f.root
		}
		return s
	}
	limited := func(reason string, s *dendro.SpanData, limit int, most float64) verdict {
		weight, ok := op.admit(limit, p, most)
		all, among := r.among(p)
		if !ok || !among {
			return verdict{}
		}
		return verdict{reason, max(weight, all), at(s)}
	}
	var v verdict
	if f.kept != nil {
		return verdict{f.reason, 1, f.kept}
	}
	if f.failed != nil {
		if op.newError(errorKind(f.failed)) {
			return verdict{ReasonError, 1, at(f.failed)}
		}
		v = limited(ReasonError, f.failed, limitError, r.limit)
	}
	if rules := r.rules.Load(); v.reason == "" && rules != nil {
		if name, weight := rules.match(b, p); name != "" {
			v = verdict{name, weight, at(b.Spans[0])}
		}
	}
	for _, c := range []struct {
		span   *dendro.SpanData
		reason string
		limit  int
		most   float64
	}{
		{f.attr, ReasonAttribute, limitAttribute, r.limit},
		{f.repeats, ReasonRepeats, limitRepeats, findingLimit},
		{f.wait, ReasonPoolWait, limitPoolWait, findingLimit},
	} {
		if v.reason == "" && c.span != nil {
			v = limited(c.reason, c.span, c.limit, c.most)
		}
	}
	switch {
	case v.reason != "":
	case isNew:
		v = verdict{ReasonNew, 1, f.root}
	case slow > 0 && begins:
		v = limited(ReasonSlow, f.root, limitSlow, r.limit)
		v.weight *= slow
	case slow > 0:
		v = limited(ReasonSlow, f.root, limitInner, innerLimit)
		v.weight *= slow
	case ordinary > 0 && begins:
		v = verdict{ReasonOrdinary, ordinary, f.root}
	}
	return v
}

// errorKind returns the type of the error of s, or "" if it has none.
func errorKind(s *dendro.SpanData) string {
	for i := range s.Attributes {
		if s.Attributes[i].Key == semconv.ErrorType {
			return s.Attributes[i].Value.String()
		}
	}
	for i := range s.Events {
		for _, a := range s.Events[i].Attributes {
			if a.Key == semconv.ExceptionType {
				return a.Value.String()
			}
		}
	}
	return ""
}

// Rule is a TraceQL query of the collector. Processes evaluate it for the spans of each request when that has ended. The
// spans of one that takes longer than two seconds or has more than 512 spans are looked at in parts.
type Rule struct {
	Name  string `json:"name"`  // the reason of traces that it keeps, at most 64 bytes
	Query string `json:"query"` // such as { span.http.route = "/pay" && duration > 2s }
	// Limit is how many traces a minute each process keeps because of it. Zero means 60.
	Limit int `json:"limit,omitempty"`
}

const defaultRuleLimit = 60

// rules are parsed. They are replaced as a whole.
type rules []*rule

type rule struct {
	Rule
	query *traceql.Query
	op    operation // for its limit, which is limitAttribute
}

// parseRules returns an error if a query is not valid or is one of metrics.
func parseRules(in []Rule) (*rules, error) {
	if len(in) == 0 {
		return nil, nil
	}
	var out rules
	for _, r := range in {
		q, err := traceql.Parse(r.Query)
		switch {
		case err != nil:
		case q.IsMetrics():
			err = traceql.ErrMetrics
		case r.Name == "":
			err = errors.New("it has no name")
		}
		if err != nil {
			return nil, &RuleError{r.Name, err}
		}
		if r.Limit <= 0 {
			r.Limit = defaultRuleLimit
		}
		out = append(out, &rule{Rule: r, query: q})
	}
	return &out, nil
}

// RuleError is the error of a rule whose query is not valid.
type RuleError struct {
	Name string
	Err  error
}

// Error returns the name of the rule and what is wrong.
func (e *RuleError) Error() string { return "rule " + e.Name + ": " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *RuleError) Unwrap() error { return e.Err }

// match returns the name of the first rule that keeps the local trace of b, and for how many it stands.
func (rs *rules) match(b *dendro.Batch, p float64) (name string, weight float64) {
	local := collector.Trace{ID: b.Spans[0].TraceID, Spans: make([]collector.Span, len(b.Spans))}
	for i, s := range b.Spans {
		local.Spans[i] = collector.Span{SpanData: *s, Resource: b.Resource}
	}
	t := &traceql.Trace{Trace: &local}
	for _, r := range *rs {
		if len(r.query.Evaluate(t)) == 0 {
			continue
		}
		if weight, ok := r.op.admit(limitAttribute, p, float64(r.Limit)/60); ok {
			return r.Name, weight
		}
	}
	return "", 0
}

// withReason returns a copy of s with the reason and the weight.
func withReason(s *dendro.SpanData, reason string, weight float64) *dendro.SpanData {
	c := *s
	c.Attributes = append(make([]slog.Attr, 0, len(s.Attributes)+2), s.Attributes...)
	if !hasKey(c.Attributes, dendro.KeepReason) {
		c.Attributes = append(c.Attributes, slog.String(dendro.KeepReason, reason))
	}
	c.Attributes = append(c.Attributes, slog.Float64(WeightKey, weight))
	return &c
}

func hasKey(attrs []slog.Attr, key string) bool {
	for i := range attrs {
		if attrs[i].Key == key {
			return true
		}
	}
	return false
}
