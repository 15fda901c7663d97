package traceql

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// seeds adds the queries of the table that every store answers.
func seeds(f *testing.F) {
	table, err := os.ReadFile("../storetest/queries.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.SplitSeq(string(table), "\n") {
		if line != "" && line[0] != '#' && line[0] != '\t' {
			f.Add(line)
		}
	}
}

// Whatever the text, Parse returns a query or an error with a position in the text. What a
// query prints is a query that prints the same.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			e, ok := err.(*Error) //nolint:errorlint // as documented
			if !ok || e.Line < 1 || e.Column < 1 || e.Line > 1+strings.Count(text, "\n") || e.Column > 1+len(text) || e.Message == "" {
				t.Errorf("%q: error %v", text, err)
			}
			return
		}
		once := q.String()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%q prints %q: %v", text, once, err)
		}
		if twice := again.String(); twice != once {
			t.Errorf("%q prints %q, which prints %q", text, once, twice)
		}
		_ = q.Scan()
	})
}

// generator makes queries and traces.
type generator struct{ *rand.Rand }

func (g generator) of(list ...string) string { return list[g.IntN(len(list))] }

func (g generator) field() string {
	return g.of(".a", ".b", "span.a", "span.b", "resource.r", "resource.service.name", ".r", "parent.a", "parent.span.b", "parent.resource.r", "event.e", "event:name", "link.l",
		"name", "duration", "status", "kind", "childCount", "rootName", "rootServiceName", "traceDuration", "nestedSetParent", "nestedSetLeft", "nestedSetRight", "span:parentID", "span:id")
}

func (g generator) number() string {
	return g.of("0", "1", "2", "3", "1.5", "-1", "2ms", "1s", ".a", ".b", "duration", "childCount", "span.b", "parent.a")
}

func (g generator) condition(depth int) string {
	if depth > 0 {
		switch g.IntN(6) {
		case 0:
			return "(" + g.condition(depth-1) + ") && " + g.condition(depth-1)
		case 1:
			return g.condition(depth-1) + " || " + g.condition(depth-1)
		case 2:
			return "!(" + g.condition(depth-1) + ")"
		}
	}
	switch g.IntN(8) {
	case 0:
		return g.number() + " " + g.of("+", "-", "*", "/", "%", "^") + " " + g.number() + " " + g.of("=", "<", ">", ">=", "!=") + " " + g.number()
	case 1:
		return g.field() + " " + g.of("=", "!=") + " nil"
	case 2:
		return g.of(".a", ".b", "name", "resource.r", "event.e", "status", "duration") + " " + g.of("=~", "!~") + ` "` + g.of("x", "x|1", ".*", "s.*", "error", "[0-9]+") + `"`
	case 3:
		return "status " + g.of("=", "!=") + " " + g.of("error", "ok", "unset")
	case 4:
		return "kind = " + g.of("server", "client", "internal")
	case 5:
		return g.of("name", "rootName", ".a", ".r", "resource.r", "resource.service.name", "event:name", "event.e", "parent.a") + " " + g.of("=", "!=", "<", ">") + ` "` + g.of("x", "y", "s1", "s2") + `"`
	case 6:
		return g.of(".a", ".b", "span.a", "event.e") + " " + g.of("= true", "= false", "!= true")
	}
	return g.of("duration", ".a", "childCount", "traceDuration", "nestedSetParent") + " " + g.of("=", "!=", "<", "<=", ">", ">=") + " " + g.number()
}

func (g generator) set(depth int) string {
	if depth > 0 {
		op := g.of("&&", "||", ">", ">>", "<", "<<", "~", "!>", "!>>", "!<", "!<<", "!~", "&>", "&>>", "&<", "&<<", "&~")
		switch g.IntN(4) {
		case 0:
			return "(" + g.query(depth-1) + ")"
		case 1:
			return "(" + g.set(depth-1) + ") " + op + " " + g.set(depth-1)
		case 2:
			return g.set(depth-1) + " " + op + " " + g.set(depth-1)
		}
	}
	return g.of("{ }", "{ "+g.condition(g.IntN(3))+" }", "{ "+g.condition(0)+" }")
}

func (g generator) query(depth int) string {
	q := g.set(depth)
	for range g.IntN(3) {
		q += " | " + g.of("count() "+g.of("=", ">", "<")+" "+g.of("0", "1", "2", "3"), g.of("avg", "min", "max", "sum")+"("+g.of("duration", ".a", ".b", "childCount")+") "+g.of(">", "<=")+" "+g.of("1", "2ms", "0"),
			"by("+g.of("name", ".a", "status", "resource.r")+")", "coalesce()", "select(.a)", "{ "+g.condition(1)+" }")
	}
	return q
}

func (g generator) trace() *Trace {
	n := 1 + g.IntN(8)
	resources := []*dendro.Resource{{}, {Attributes: []slog.Attr{slog.String("service.name", "s1"), slog.String("r", "x")}}, {Attributes: []slog.Attr{slog.String("service.name", "s2"), slog.Int("r", 1)}}}
	values := []slog.Value{slog.IntValue(1), slog.IntValue(2), slog.Float64Value(1.5), slog.StringValue("x"), slog.StringValue("1"), slog.BoolValue(true), slog.BoolValue(false),
		slog.AnyValue([]int64{1, 3}), slog.AnyValue([]string{"x", "z"}), slog.AnyValue([]string{}), slog.IntValue(2_000_000)}
	t := &collector.Trace{ID: dendro.TraceID{1}}
	for i := range n {
		s := collector.Span{Resource: resources[g.IntN(3)]}
		s.Scope = &dendro.Scope{}
		s.SpanID = dendro.SpanID{byte(1 + i)}
		if g.IntN(10) == 0 && i > 0 {
			s.SpanID = dendro.SpanID{byte(i)} // as Zipkin's client and server have it
		}
		if g.IntN(4) > 0 {
			s.ParentID = dendro.SpanID{byte(1 + g.IntN(n+1))} // perhaps a cycle, itself, or missing
		}
		s.Name, s.Start = g.of("x", "y", "z"), int64(1e6*g.IntN(4))
		s.End = s.Start + int64(1e6*g.IntN(4))
		s.Kind, s.Status.Code = dendro.Kind(g.IntN(3)), dendro.StatusCode(g.IntN(3))
		for _, key := range []string{"a", "b", "r"} {
			if g.IntN(3) > 0 {
				s.Attributes = append(s.Attributes, slog.Attr{Key: key, Value: values[g.IntN(len(values))]})
			}
		}
		for range g.IntN(3) {
			s.Events = append(s.Events, dendro.Event{Name: g.of("x", "y"), Attributes: []slog.Attr{{Key: "e", Value: values[g.IntN(len(values))]}}})
		}
		t.Spans = append(t.Spans, s)
	}
	sort.SliceStable(t.Spans, func(i, j int) bool { return t.Spans[i].Start < t.Spans[j].Start })
	return &Trace{Trace: t}
}

// Random queries select from random traces what a slow and obvious evaluator selects, and
// their hints are right.
func FuzzEvaluate(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		g := generator{rand.New(rand.NewPCG(seed, 7))}
		for range 20 {
			text := g.query(g.IntN(3))
			q, err := Parse(text)
			if err != nil {
				if strings.Contains(err.Error(), "never the same") || strings.Contains(err.Error(), "expected a number") || strings.Contains(err.Error(), "only be compared") {
					continue
				}
				t.Fatalf("%s: %v", text, err)
			}
			for range 5 {
				tr := g.trace()
				got := q.Evaluate(tr)
				want := oracle{tr}.pipeline(q.stages, [][]int{all(tr)})
				if g, w := fmt.Sprint(spansOf(got)), fmt.Sprint(want); g != w {
					t.Fatalf("%s\nof %s\nselects %s\nwant    %s", text, describe(tr), g, w)
				}
				if len(got) > 0 {
					agrees(t, text, q.Scan().Hints, tr)
				}
			}
		}
	})
}

func spansOf(sets []Spanset) [][]int {
	var out [][]int
	for _, s := range sets {
		out = append(out, s.Spans)
	}
	return out
}

func describe(t *Trace) string {
	var b strings.Builder
	for i, s := range t.Spans {
		fmt.Fprintf(&b, "\n%d: %s below %s: %s %d-%d %v %v %v %v", i, s.SpanID, s.ParentID, s.Name, s.Start, s.End, s.Status.Code, s.Attributes, s.Resource.Attributes, s.Events)
	}
	return b.String()
}

func agrees(t *testing.T, text string, h collector.Hints, tr *Trace) {
	t.Helper()
	sum := tr.Summary()
	wrong := sum.Duration < h.MinDuration || h.MaxDuration > 0 && sum.Duration > h.MaxDuration
	for i := range h.Spans {
		wrong = wrong || !slices.ContainsFunc(tr.Spans, func(s collector.Span) bool { return spanAgrees(&h.Spans[i], &s) })
	}
	if wrong {
		t.Fatalf("%s: hints %+v exclude %s", text, h, describe(tr))
	}
}

func spanAgrees(h *collector.SpanHints, s *collector.Span) bool {
	attribute := func(key string, has func(v Value) bool) bool {
		return has(lookUp(s.Attributes, key)) || has(lookUp(s.Resource.Attributes, key))
	}
	wrong := h.Errors && s.Status.Code != dendro.StatusError || s.Duration() < h.MinDuration
	for _, name := range h.Names {
		wrong = wrong || s.Name != name
	}
	for _, service := range h.Services {
		wrong = wrong || s.Resource.Service() != service
	}
	for _, key := range h.Keys {
		wrong = wrong || !attribute(key, func(v Value) bool { return !v.IsNil() })
	}
	for _, a := range h.Values {
		wrong = wrong || !attribute(a.Key, func(v Value) bool { return satisfies(v, OpEqual, ValueOf(a.Value), nil) })
	}
	for _, a := range h.Texts {
		wrong = wrong || !attribute(a.Key, func(v Value) bool {
			return v.Text() == a.Value.String() && !v.IsNil() || slices.ContainsFunc(v.list, func(e Value) bool { return e.Text() == a.Value.String() })
		})
	}
	return !wrong
}

// oracle evaluates queries by their definitions, in whatever time that takes.
type oracle struct{ *Trace }

func (o oracle) parentOf(i int) int {
	id := o.Spans[i].ParentID
	for p := range o.Spans {
		if id.IsValid() && o.Spans[p].SpanID == id {
			if p == i {
				return -1
			}
			return p
		}
	}
	return -1
}

func (o oracle) holds(r relation, x, y int) bool {
	switch r {
	case child:
		return o.parentOf(y) == x
	case parent:
		return o.parentOf(x) == y
	case descendant:
		for p, steps := o.parentOf(y), 0; p >= 0 && steps <= len(o.Spans); p, steps = o.parentOf(p), steps+1 {
			if p == x {
				return true
			}
		}
		return false
	case ancestor:
		return o.holds(descendant, y, x)
	case sibling:
		return x != y && o.Spans[x].ParentID.IsValid() && o.Spans[x].ParentID == o.Spans[y].ParentID
	}
	return false
}

func (o oracle) spansets(s spansets, in []int) (out []int) {
	switch s := s.(type) {
	case filter:
		for _, i := range in {
			if s.condition == nil || o.eval(s.condition, i).IsTrue() {
				out = append(out, i)
			}
		}
		return out
	case nested:
		for _, set := range o.pipeline(s.stages, [][]int{in}) {
			out = append(out, set...)
		}
	case combined:
		x, y := o.spansets(s.x, in), o.spansets(s.y, in)
		switch {
		case s.op.and && (len(x) == 0 || len(y) == 0):
		case s.op.and || s.op.or:
			out = append(slices.Clone(x), y...)
		default:
			for _, b := range y {
				if slices.ContainsFunc(x, func(a int) bool { return o.holds(s.op.relation, a, b) }) != s.op.negated {
					out = append(out, b)
				}
			}
			for _, a := range x {
				if s.op.union && slices.ContainsFunc(y, func(b int) bool { return o.holds(s.op.relation, a, b) }) {
					out = append(out, a)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o oracle) pipeline(stages []stage, sets [][]int) [][]int {
	for _, s := range stages {
		var out [][]int
		for _, set := range sets {
			switch s := s.(type) {
			case spansetStage:
				out = append(out, o.spansets(s.spansets, set))
			case scalarFilter:
				if satisfies(o.scalar(s.x, set), s.op, o.scalar(s.y, set), nil) {
					out = append(out, set)
				}
			case groupBy:
				groups := map[string][]int{}
				for _, i := range set {
					key := o.eval(s.by[0], i).String()
					groups[key] = append(groups[key], i)
				}
				for _, key := range slices.Sorted(func(yield func(string) bool) {
					for k := range groups {
						if !yield(k) {
							return
						}
					}
				}) {
					out = append(out, groups[key])
				}
			default:
				out = append(out, set)
			}
		}
		if _, ok := s.(coalesce); ok {
			var all []int
			for _, set := range out {
				all = append(all, set...)
			}
			slices.Sort(all)
			out = [][]int{slices.Compact(all)}
		}
		sets = slices.DeleteFunc(out, func(set []int) bool { return len(set) == 0 })
	}
	if len(sets) == 0 {
		return nil
	}
	return sets
}

func (o oracle) scalar(s scalar, set []int) Value {
	a, ok := s.(aggregate)
	if !ok {
		return s.(literal).Value
	}
	var numbers []Value
	for _, i := range set {
		if v := o.eval(a.x, i); v.isNumber() {
			numbers = append(numbers, v)
		}
	}
	if a.function == "count" {
		return Int(int64(len(set)))
	}
	if len(numbers) == 0 {
		return Value{}
	}
	sorted := slices.SortedStableFunc(slices.Values(numbers), func(a, b Value) int { order, _ := compare(a, b); return order })
	sum := numbers[0]
	for _, v := range numbers[1:] {
		sum = arithmetic(OpAdd, sum, v)
	}
	switch a.function {
	case "min":
		return sorted[0]
	case "max":
		return sorted[len(sorted)-1]
	case "sum":
		return sum
	}
	return arithmetic(OpDivide, sum, Int(int64(len(numbers))))
}
