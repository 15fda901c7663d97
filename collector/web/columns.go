package web

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
)

// missingParent is the name of a row without a span.
const missingParent = "parent span not received"

// encode returns what the script of the page draws. It has an array for each property, so
// that a hundred thousand rows are a few arrays in the browser. Times are in nanoseconds, those
// in arrays relative to start. The JSON may be in HTML: it has no "<".
func (s *skeleton) encode() []byte {
	const bytesOfRow = 100
	rows, n := s.rows, len(s.rows)
	o := object{append(make([]byte, 0, bytesOfRow*n), '{')}
	o.value("traceId", s.TraceID)
	o.value("start", strconv.FormatInt(s.Start, 10)) // more digits than a number of JavaScript has
	o.value("duration", s.Duration)
	o.value("spans", s.Spans)
	o.value("errors", s.Errors)
	o.value("missing", s.Missing) // number of parents that have not arrived
	o.value("services", s.Services)
	o.value("straight", s.Straight)

	type event struct {
		row, name int
		*dendro.Event
	}
	var names, services indices // services as in s.Services, since the order is the same
	name, of := make([]int, n), make([]int, n)
	var events []event
	for i := range rows {
		span := rows[i].span
		if rows[i].fold != nil {
			span = rows[i+1].span
		}
		if span == nil {
			name[i], of[i] = names.index(missingParent), -1
			continue
		}
		name[i], of[i] = names.index(span.Name), services.index(span.Resource.Service())
		if rows[i].span == nil {
			continue
		}
		for e := range span.Events {
			events = append(events, event{i, names.index(span.Events[e].Name), &span.Events[e]})
		}
	}

	o.strings("names", len(names.texts), func(i int) string { return names.texts[i] }) // name and eventName are indices of these
	o.key("id")
	o.array(n, func(i int) { o.b = append(hex.AppendEncode(append(o.b, '"'), rows[i].id[:]), '"') })
	numbers(&o, "parent", n, func(i int) int { return rows[i].parent }) // row of the parent, or -1 for a root
	numbers(&o, "depth", n, func(i int) int { return rows[i].depth })
	numbers(&o, "size", n, func(i int) int { return rows[i].size }) // number of rows in the subtree
	numbers(&o, "offset", n, func(i int) int64 { return rows[i].start - s.Start })
	numbers(&o, "length", n, func(i int) int64 { return rows[i].end - rows[i].start })
	numbers(&o, "self", n, func(i int) int64 { return rows[i].self })
	numbers(&o, "name", n, func(i int) int { return name[i] })
	numbers(&o, "service", n, func(i int) int { return of[i] }) // index of the service, or -1 for a missing parent
	numbers(&o, "kind", n, func(i int) int {
		switch {
		case rows[i].span != nil:
			return int(rows[i].span.Kind)
		case rows[i].fold != nil:
			return int(rows[i+1].span.Kind)
		}
		return 0
	})
	numbers(&o, "status", n, func(i int) int {
		if rows[i].span == nil {
			return 0
		}
		return int(rows[i].span.Status.Code)
	})
	where := func(is func(i int) bool) (found []int) {
		for i := range rows {
			if is(i) {
				found = append(found, i)
			}
		}
		return found
	}
	list := func(name string, found []int) { numbers(&o, name, len(found), func(i int) int { return found[i] }) }
	list("detached", where(func(i int) bool { return rows[i].cycle })) // rows where a cycle of parents was cut
	list("late", where(func(i int) bool { return isLate(rows, i) }))
	list("twice", where(func(i int) bool { return rows[i].twice }))

	skewed := where(func(i int) bool { return rows[i].span != nil && s.skew[rows[i].span] != 0 })
	list("skewRow", skewed)
	numbers(&o, "skewShift", len(skewed), func(i int) int64 { return s.skew[rows[skewed[i]].span] }) // added, or to be added, to the row and what is below

	folds := where(func(i int) bool { return rows[i].fold != nil })
	fold := func(i int) *fold { return rows[folds[i]].fold }
	list("foldRow", folds)
	numbers(&o, "foldSpans", len(folds), func(i int) int { return fold(i).spans })
	numbers(&o, "foldErrors", len(folds), func(i int) int { return fold(i).errors })
	numbers(&o, "foldTotal", len(folds), func(i int) int64 { return fold(i).total })
	o.strings("foldCaller", len(folds), func(i int) string { return fold(i).caller })

	numbers(&o, "eventRow", len(events), func(i int) int { return events[i].row })
	numbers(&o, "eventName", len(events), func(i int) int { return events[i].name })
	numbers(&o, "eventOffset", len(events), func(i int) int64 { return events[i].Time - s.Start })
	numbers(&o, "eventLength", len(events), func(i int) int64 { return int64(events[i].Duration) })

	numbers(&o, "criticalRow", len(s.path), func(i int) int { return s.path[i].row })
	numbers(&o, "criticalOffset", len(s.path), func(i int) int64 { return s.path[i].from - s.Start })
	numbers(&o, "criticalLength", len(s.path), func(i int) int64 { return s.path[i].to - s.path[i].from })
	return append(o.b, '}')
}

// indices numbers different texts in the order in which they come.
type indices struct {
	texts []string
	known map[string]int
}

func (x *indices) index(text string) int {
	i, ok := x.known[text]
	if !ok {
		if x.known == nil {
			x.known = map[string]int{}
		}
		i = len(x.texts)
		x.known[text] = i
		x.texts = append(x.texts, text)
	}
	return i
}

// object is a JSON object that is being written, without its end.
type object struct{ b []byte }

func (o *object) key(name string) {
	if last := o.b[len(o.b)-1]; last != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, `":`...)
}

// value adds a member of any type.
func (o *object) value(name string, v any) {
	data, _ := json.Marshal(v) // marshaling numbers and strings cannot fail
	o.key(name)
	o.b = append(o.b, data...)
}

// array adds an array of n elements that add appends.
func (o *object) array(n int, add func(i int)) {
	o.b = append(o.b, '[')
	for i := range n {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		add(i)
	}
	o.b = append(o.b, ']')
}

// numbers adds an array of n numbers.
func numbers[N int | int64](o *object, name string, n int, at func(i int) N) {
	o.key(name)
	o.array(n, func(i int) { o.b = strconv.AppendInt(o.b, int64(at(i)), 10) })
}

// strings adds an array of n strings.
func (o *object) strings(name string, n int, at func(i int) string) {
	o.key(name)
	o.array(n, func(i int) {
		text := at(i)
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c >= 0x7f || strings.ContainsRune(`"\<>&`, c) }) {
			o.b = append(o.b, quote(text)...)
			return
		}
		o.b = append(append(append(o.b, '"'), text...), '"')
	})
}
