package dendrotest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// node is a span in a tree.
type node struct {
	*span
	data     *collector.Span
	by       uint64 // the goroutine that began it, or that made the request
	open     bool
	children []*node
	text     string // of the line
	digest   digest
}

// digest is a hash of the text of a node and of what is below it.
type digest [sha256.Size]byte

func (n *node) attr(key string) (v slog.Value, ok bool) {
	i := slices.IndexFunc(n.data.Attributes, func(a slog.Attr) bool { return a.Key == key })
	if i < 0 {
		return v, false
	}
	return n.data.Attributes[i].Value, true
}

// shown are the attributes that are always part of a line.
var shown = []string{semconv.HTTPResponseStatusCode, semconv.URLFull, semconv.DBQueryText, semconv.ErrorType}

// tree is the spans of a test as a tree.
type tree struct {
	nodes []*node // in the order of their starts
	roots []*node
}

// newTree makes a tree of nodes, which are in the order of their starts. It leaves out the
// span of the test if nothing happened in it. keys are attributes to show.
func newTree(nodes []*node, test *dendro.Span, keys []string) *tree {
	t := &tree{}
	byID := map[spanID]*node{}
	for _, n := range nodes {
		byID[spanID{n.data.TraceID, n.data.SpanID}] = n
	}
	parentOf := func(n *node) *node { return byID[spanID{n.data.TraceID, n.data.ParentID}] }
	for _, n := range nodes {
		if parent := parentOf(n); parent != nil {
			parent.children = append(parent.children, n)
		}
	}
	for _, n := range nodes {
		if n.handle == test && len(n.children)+len(n.data.Attributes)+len(n.data.Events) == 0 {
			continue
		}
		n.text = n.line(test, slices.Concat(shown, keys))
		t.nodes = append(t.nodes, n)
		if parentOf(n) == nil {
			t.roots = append(t.roots, n)
		}
	}
	arrange(t.roots, 0)
	return t
}

// arrange orders siblings, which are in the order of their starts, and what is below them.
// Those that follow each other and were begun by several goroutines, other than that of their
// parent, are concurrent: their order would be another one the next time. They are ordered by
// name.
func arrange(siblings []*node, parent uint64) {
	for _, n := range siblings {
		arrange(n.children, n.goroutine)
		h := sha256.New()
		h.Write([]byte(n.text + "\n"))
		for _, c := range n.children {
			h.Write(c.digest[:])
		}
		h.Sum(n.digest[:0])
	}
	for rest := siblings; len(rest) > 0; {
		end := slices.IndexFunc(rest, func(n *node) bool { return n.by == parent })
		if end < 0 {
			end = len(rest)
		}
		run := rest[:end]
		if slices.ContainsFunc(run, func(n *node) bool { return n.by != run[0].by }) {
			slices.SortStableFunc(run, func(a, b *node) int {
				return cmp.Or(strings.Compare(a.data.Name, b.data.Name), strings.Compare(a.text, b.text), bytes.Compare(a.digest[:], b.digest[:]))
			})
		}
		rest = rest[min(end+1, len(rest)):]
	}
}

// line returns the text of n, with attributes, without what differs from run to run.
func (n *node) line(test *dendro.Span, keys []string) string {
	var line strings.Builder
	if service := n.data.Resource.Service(); service != test.Tracer().Resource().Service() {
		line.WriteString(quoted(service) + " ")
	}
	if n.data.Kind != dendro.KindInternal {
		line.WriteString(n.data.Kind.String() + " ")
	}
	line.WriteString(strings.Join(strings.Fields(normalized(n.data.Name)), " "))
	for _, key := range keys {
		if v, ok := n.attr(key); ok {
			line.WriteString(" " + key + "=" + quoted(normalized(v.String())))
		}
	}
	if n.data.Status.Code == dendro.StatusError {
		line.WriteString(" status=error")
		if m := n.data.Status.Message; m != "" {
			line.WriteString(" statusMessage=" + quoted(normalized(m)))
		}
	}
	if n.open && n.handle != test {
		line.WriteString(" (open)")
	}
	return line.String()
}

// quoted returns s on one line, in quotes if it is not a word.
func quoted(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if q := strconv.Quote(s); s == "" || strings.ContainsAny(s, " =") || q != `"`+s+`"` {
		return q
	}
	return s
}

// line is a line of a tree. Subtrees that follow each other and are the same share their lines.
type line struct {
	text  string
	nodes []*node
}

// indent returns the indent of what is below l.
func (l line) indent() string {
	return l.text[:len(l.text)-len(strings.TrimLeft(l.text, " "))] + "  "
}

func (t *tree) lines() (out []line) {
	writeLines(&out, [][]*node{t.roots}, "")
	return out
}

// writeLines writes the lines of siblings, and of the same siblings below other parents.
func writeLines(out *[]line, same [][]*node, indent string) {
	first := same[0]
	for i := 0; i < len(first); {
		end := i + 1
		for end < len(first) && first[end].digest == first[i].digest {
			end++
		}
		l := line{text: indent + first[i].text}
		if n := end - i; n > 1 {
			l.text = indent + strconv.Itoa(n) + " × " + first[i].text
		}
		var children [][]*node
		for _, siblings := range same {
			for _, n := range siblings[i:end] {
				l.nodes = append(l.nodes, n)
				children = append(children, n.children)
			}
		}
		*out = append(*out, l)
		writeLines(out, children, indent+"  ")
		i = end
	}
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}
