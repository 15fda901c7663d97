package sqldriver

import (
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dendrotrace/dendro/internal/semconv"
)

const (
	// maxText bounds the recorded text of a statement, in bytes.
	maxText = 2 << 10
	// maxTargets bounds the number of tables in a summary.
	maxTargets = 8
	// maxCachedText bounds the length of the statements in the cache. generation is
	// the number of statements in half of the cache.
	maxCachedText = 8 << 10
	generation    = 512
)

// statement is what spans record about a statement.
type statement struct {
	query       string
	summary     string // "SELECT orders", also the name of the span
	prepare     string // name of the span of its preparation
	repeated    string // attribute key of the number of its executions
	textHash    uint64 // hash of the redacted text
	summaryHash uint64
	attrs       []slog.Attr
	commentable bool
	explainable bool
	explained   time.Time // time of its last EXPLAIN, guarded by explains.mu
}

var hashSeed = maphash.MakeSeed()

func newStatement(system, query string, raw bool, base []slog.Attr) *statement {
	text, sum := redact(system, query)
	textHash := maphash.String(hashSeed, text)
	if raw {
		text = shorten(query)
	}
	s := &statement{query: query, textHash: textHash, summary: sum.String(), attrs: slices.Clip(base)}
	if s.summary == "" {
		s.summary = system // as OpenTelemetry's conventions ask
	} else {
		s.attrs = append(s.attrs, slog.String(semconv.DBQuerySummary, s.summary))
	}
	s.commentable = commentable(sum.operation, query)
	s.prepare = "PREPARE " + s.summary
	s.repeated = repeatedKey + "." + s.summary
	s.summaryHash = maphash.String(hashSeed, s.repeated)
	if !sum.several {
		if sum.operation != "" {
			s.attrs = append(s.attrs, slog.String(semconv.DBOperationName, sum.operation))
		}
		if len(sum.targets) == 1 {
			s.attrs = append(s.attrs, slog.String(semconv.DBCollectionName, sum.targets[0]))
		}
	}
	if text != "" {
		s.attrs = append(s.attrs, slog.String(semconv.DBQueryText, text))
	}
	return s
}

// shorten returns a copy of at most maxText bytes of query. It cuts between runes.
func shorten(query string) string { return shortenTo(query, maxText) }

func shortenTo(text string, most int) string {
	if len(text) <= most {
		return strings.Clone(text)
	}
	n := most - len(cutMark)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + cutMark
}

const cutMark = "…"

// redact returns query, at most maxText bytes of it, and its summary. Literals are
// replaced by "?" and a list of values after IN by "(?)". Comments are removed, and
// white space becomes one space. Everything after IDENTIFIED BY is one literal,
// because some databases accept a password there without quotes.
func redact(system, query string) (text string, sum summary) {
	var b strings.Builder
	b.Grow(min(len(query), maxText))
	l := lexer{text: query, dialect: dialectOf(system)}
	sum.levels = make([]level, 1, 8)
	in := false // the last token is IN
	for {
		password := sum.last == "BY" && sum.beforeLast == "IDENTIFIED"
		t := l.next(sum.next)
		if password && t.kind != end {
			t.kind = l.rest()
		}
		sum.add(t)
		if t.kind == end {
			break
		}
		out := t.text
		if t.kind == literal {
			out = "?"
		} else if in && out == "(" && l.skipValues() {
			out = "(?)"
			sum.add(token{kind: punctuation, text: ")"})
		}
		in = t.kind == word && strings.EqualFold(out, "in")
		if t.space && b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len()+len(out) > maxText-len(cutMark) {
			b.WriteString(cutMark)
			sum.several = true // not known
			break
		}
		b.WriteString(out)
	}
	return b.String(), sum
}

// skipValues skips a list of literals and placeholders and its closing parenthesis, if
// that is what follows.
func (l *lexer) skipValues() bool {
	look := *l
	for {
		t := look.next(anything)
		if t.text == "-" || t.text == "+" {
			t = look.next(anything)
		}
		if t.kind != literal && t.kind != placeholder {
			return false
		}
		switch t = look.next(anything); t.text {
		case ",":
		case ")":
			*l = look
			return true
		default:
			return false
		}
	}
}

// statements is a cache of statements by text. It has two generations. When the newer
// one is full, the older one is dropped.
type statements struct {
	parse func(query string) *statement // immutable

	mu           sync.RWMutex
	newer, older map[string]*statement // guarded by mu
}

func (c *statements) get(query string) *statement {
	c.mu.RLock()
	s, old := c.newer[query], c.older[query]
	c.mu.RUnlock()
	switch {
	case s != nil:
		return s
	case old != nil:
		s = old
	case len(query) > maxCachedText:
		return c.parse(query)
	default:
		query = strings.Clone(query) // query may be part of a larger string
		s = c.parse(query)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newer == nil || len(c.newer) >= generation {
		c.newer, c.older = make(map[string]*statement), c.newer
	}
	c.newer[query] = s
	return s
}
