package otlp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// cursor reads JSON that [json.Valid] accepted. It does not check the syntax again.
type cursor struct {
	data []byte
	pos  int
}

// newCursor returns an error if data is not one JSON value.
func newCursor(data []byte) (*cursor, error) {
	if !json.Valid(data) {
		var raw json.RawMessage
		return nil, json.Unmarshal(data, &raw) // slower, but its error has the reason
	}
	return &cursor{data: data}, nil
}

// is reports whether the next value begins with b.
func (c *cursor) is(b byte) bool {
	c.pos = c.space(c.pos)
	return c.data[c.pos] == b
}

func (c *cursor) space(i int) int {
	for i < len(c.data) {
		switch c.data[i] {
		case ' ', '\t', '\r', '\n', ',', ':':
			i++
		default:
			return i
		}
	}
	return i
}

// open moves into the next value if it begins with b.
func (c *cursor) open(b byte) bool {
	if !c.is(b) {
		return false
	}
	c.pos++
	return true
}

// more reports whether the object or array has another element. If not, it moves past
// the end.
func (c *cursor) more(end byte) bool { return !c.open(end) }

// skipNull skips the next value if it is null, which means that there is no value.
func (c *cursor) skipNull() bool {
	if !c.is('n') {
		return false
	}
	c.pos += len("null")
	return true
}

// token reads a string, number or literal without decoding it. Of an object or array,
// which is never expected here, it reads only the bracket.
func (c *cursor) token() []byte {
	c.pos = c.space(c.pos)
	start := c.pos
	switch c.data[start] {
	case '"':
		for c.pos++; c.data[c.pos] != '"'; c.pos++ {
			if c.data[c.pos] == '\\' {
				c.pos++
			}
		}
		c.pos++
	case '{', '[':
		c.pos++
	default:
		for c.pos < len(c.data) && bytes.IndexByte([]byte(" \t\r\n,:]}"), c.data[c.pos]) < 0 {
			c.pos++
		}
	}
	return c.data[start:c.pos]
}

// key reads the name of a member.
func (c *cursor) key() []byte {
	name, _ := c.text() // a name is always a string
	return name
}

// text reads a string, if possible without copying it.
func (c *cursor) text() ([]byte, error) {
	if !c.is('"') {
		return nil, c.want("a string")
	}
	token := c.token()
	raw := token[1 : len(token)-1]
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return raw, nil
	}
	var s string
	err := json.Unmarshal(token, &s)
	return []byte(s), err
}

// skip skips the next value.
func (c *cursor) skip() {
	for depth := 0; ; {
		switch c.pos = c.space(c.pos); c.data[c.pos] {
		case '{', '[':
			depth++
			c.pos++
		case '}', ']':
			depth--
			c.pos++
		default:
			c.token()
		}
		if depth == 0 {
			return
		}
	}
}

// want returns an error that describes what was expected instead of the next value.
func (c *cursor) want(what string) error {
	return fmt.Errorf("want %s, got %.40s", what, c.token())
}
