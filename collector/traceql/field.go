package traceql

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dendrotrace/dendro"
)

// Field is a property of a span: an intrinsic or an attribute.
type Field struct {
	Intrinsic Intrinsic
	Scope     Scope  // of an attribute
	Key       string // of an attribute
	Parent    bool   // of the parent of the span
}

// Scope says where an attribute is.
type Scope uint8

// Scopes of attributes.
const (
	scopeNone            Scope = iota
	scopeAny                   // of the span, or else of its resource
	ScopeSpan                  // of the span
	ScopeResource              // of the resource
	ScopeEvent                 // of the events
	ScopeLink                  // of the links
	ScopeInstrumentation       // of the instrumentation scope
	scopeParent
)

var scopes = map[string]Scope{
	"": scopeAny, "span": ScopeSpan, "resource": ScopeResource, "event": ScopeEvent, "link": ScopeLink,
	"instrumentation": ScopeInstrumentation, "parent": scopeParent,
}

// Intrinsic is a property that every span has.
type Intrinsic uint8

// Intrinsics.
const (
	noIntrinsic Intrinsic = iota
	SpanName
	SpanDuration
	SpanStatus
	SpanStatusMessage
	SpanKind
	SpanID
	SpanParentID
	SpanChildCount
	TraceID
	TraceDuration
	TraceRootName
	TraceRootService
	NestedSetLeft
	NestedSetRight
	NestedSetParent
	EventName
	EventTimeSinceStart
	LinkTraceID
	LinkSpanID
	InstrumentationName
	InstrumentationVersion
)

// intrinsics are all names of intrinsics.
var intrinsics = map[string]Intrinsic{
	"name": SpanName, "duration": SpanDuration, "status": SpanStatus, "statusMessage": SpanStatusMessage, "kind": SpanKind,
	"rootName": TraceRootName, "rootServiceName": TraceRootService, "traceDuration": TraceDuration, "childCount": SpanChildCount,
	"nestedSetLeft": NestedSetLeft, "nestedSetRight": NestedSetRight, "nestedSetParent": NestedSetParent,

	"span:name": SpanName, "span:duration": SpanDuration, "span:status": SpanStatus, "span:statusMessage": SpanStatusMessage, "span:kind": SpanKind,
	"span:id": SpanID, "span:parentID": SpanParentID, "span:childCount": SpanChildCount,
	"trace:id": TraceID, "trace:duration": TraceDuration, "trace:rootName": TraceRootName, "trace:rootService": TraceRootService,
	"event:name": EventName, "event:timeSinceStart": EventTimeSinceStart,
	"link:traceID": LinkTraceID, "link:spanID": LinkSpanID,
	"instrumentation:name": InstrumentationName, "instrumentation:version": InstrumentationVersion,
}

// intrinsicNames has the name by which an intrinsic is printed.
var intrinsicNames = func() map[Intrinsic]string {
	names := map[Intrinsic]string{}
	for name, i := range intrinsics {
		// The bare name if there is one: it is the shorter.
		if old := names[i]; old == "" || len(name) < len(old) {
			names[i] = name
		}
	}
	return names
}()

// IntrinsicNames returns the names of all intrinsics, sorted.
func IntrinsicNames() []string {
	names := make([]string, 0, len(intrinsics))
	for name := range intrinsics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// String returns f as it is written in a query.
func (f Field) String() string {
	if f.Intrinsic != noIntrinsic {
		return intrinsicNames[f.Intrinsic]
	}
	var b strings.Builder
	if f.Parent {
		b.WriteString("parent.")
	}
	for name, scope := range scopes {
		if scope == f.Scope && name != "" {
			b.WriteString(name)
		}
	}
	if f.Scope != scopeAny || !f.Parent {
		b.WriteByte('.')
	}
	if f.isPlain() {
		return b.String() + f.Key
	}
	return b.String() + quote(f.Key)
}

// isPlain reports whether the key needs no quotes.
func (f Field) isPlain() bool {
	first, _, dotted := strings.Cut(f.Key, ".")
	switch {
	case f.Key == "", strings.ContainsFunc(f.Key, func(r rune) bool { return endsName(r) || r == '\\' || r == '\ufffd' }):
		return false
	case f.Scope != scopeAny:
	case f.Parent: // parent.span.x would be read as an attribute of the span
		return !dotted || first != "span" && first != "resource"
	default: // .5 would be read as a number
		return !isDigit(f.Key[0])
	}
	return true
}

// hex returns the text of an id, or nil if it is not valid.
func hexID(id interface {
	IsValid() bool
	String() string
}) Value {
	if !id.IsValid() {
		return Value{}
	}
	return String(id.String())
}

// value returns the value of f for span i of t.
func (t *Trace) value(f Field, i int) Value {
	if f.Parent {
		if i = t.parent(i); i < 0 {
			return Value{}
		}
	}
	s := &t.Spans[i]
	switch f.Intrinsic {
	case noIntrinsic:
		return t.attribute(f, i)
	case SpanName:
		return String(s.Name)
	case SpanDuration:
		return Duration(s.Duration())
	case SpanStatus:
		return Status(s.Status.Code)
	case SpanStatusMessage:
		return String(s.Status.Message)
	case SpanKind:
		return Kind(s.Kind)
	case SpanID:
		return hexID(s.SpanID)
	case SpanParentID:
		return hexID(s.ParentID)
	case SpanChildCount:
		return Int(int64(len(t.childrenOf(i))))
	case TraceID:
		return hexID(t.ID)
	case TraceDuration:
		start, end := t.bounds()
		return Value{typ: TypeDuration, n: end - start}
	case TraceRootName:
		if r := t.root(); r != nil {
			return String(r.Name)
		}
	case TraceRootService:
		if r := t.root(); r != nil {
			return String(r.Resource.Service())
		}
	case NestedSetLeft:
		return Int(t.nestedSet(i).left)
	case NestedSetRight:
		return Int(t.nestedSet(i).right)
	case NestedSetParent:
		return Int(t.nestedSet(i).parent)
	case EventName:
		return each(s.Events, func(e *dendro.Event) Value { return String(e.Name) })
	case EventTimeSinceStart:
		return each(s.Events, func(e *dendro.Event) Value { return Value{typ: TypeDuration, n: e.Time - s.Start} })
	case LinkTraceID:
		return each(s.Links, func(l *dendro.Link) Value { return hexID(l.TraceID) })
	case LinkSpanID:
		return each(s.Links, func(l *dendro.Link) Value { return hexID(l.SpanID) })
	case InstrumentationName:
		return String(s.Scope.Name)
	case InstrumentationVersion:
		return String(s.Scope.Version)
	}
	return Value{}
}

// each returns the values of the elements of list that have one.
func each[T any](list []T, value func(*T) Value) Value {
	var out []Value
	for i := range list {
		switch v := value(&list[i]); v.typ {
		case TypeNil:
		case TypeArray:
			out = append(out, v.list...)
		default:
			out = append(out, v)
		}
	}
	return Array(out...)
}

func (t *Trace) attribute(f Field, i int) Value {
	s := &t.Spans[i]
	switch f.Scope {
	case ScopeSpan:
		return lookUp(s.Attributes, f.Key)
	case ScopeResource:
		return lookUp(s.Resource.Attributes, f.Key)
	case ScopeEvent:
		return each(s.Events, func(e *dendro.Event) Value { return lookUp(e.Attributes, f.Key) })
	case ScopeLink:
		return each(s.Links, func(l *dendro.Link) Value { return lookUp(l.Attributes, f.Key) })
	case ScopeInstrumentation:
		return lookUp(s.Scope.Attributes, f.Key)
	}
	if v := lookUp(s.Attributes, f.Key); !v.IsNil() {
		return v
	}
	return lookUp(s.Resource.Attributes, f.Key)
}

// suggestScope returns a hint for a name that is not a scope, with which rest begins.
func suggestScope(name, rest string) string {
	var near []string
	for scope := range scopes {
		if isNear(name, scope) {
			near = append(near, scope)
		}
	}
	if len(near) > 0 {
		return suggestion(near, name)
	}
	end := strings.IndexFunc(rest, endsName)
	if end < 0 {
		end = len(rest)
	}
	return "; an attribute without a scope begins with a dot: ." + rest[:end]
}

// isNear reports whether name may be a misspelling of word.
func isNear(name, word string) bool {
	most := min(2, len(name)/2, len(word)/2)
	return strings.EqualFold(name, word) || len(name) <= len(word)+most && distance(name, word) <= most
}

// suggestIntrinsic returns a hint for a name that is not an intrinsic.
func suggestIntrinsic(name string) string {
	var near []string
	for intrinsic := range intrinsics {
		if isNear(name, intrinsic) {
			near = append(near, intrinsic)
		}
	}
	return suggestion(near, name)
}

// suggestion returns the nearest of words as a question, or "" if there are none.
func suggestion(words []string, name string) string {
	if len(words) == 0 {
		return ""
	}
	return "; did you mean " + slices.MinFunc(words, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(name, a), distance(name, b)), cmp.Compare(a, b))
	}) + "?"
}

// distance returns the Levenshtein distance of two short texts, without regard to case.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
