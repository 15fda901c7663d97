package otlp

import (
	"slices"
	"strings"
)

// The bounds of [UnknownKeysJSON].
const (
	maxUnknownKeys  = 8
	maxUnknownBytes = 64
)

// UnknownKeysJSON returns the keys of a JSON ExportTraceServiceRequest, and of its
// resourceSpans and scopeSpans, that [DecodeTracesJSON] does not know and ignores, as the
// specification asks. If a request holds no spans, they often tell why: keys in
// snake_case, for example. It returns at most 8 keys, of at most 64 bytes each, and none
// if data is not JSON.
func UnknownKeysJSON(data []byte) []string {
	c, err := newCursor(data)
	if err != nil {
		return nil
	}
	var keys []string
	unknownKeys(c, &keys, requestFields, resourceSpansFields, scopeSpansFields)
	return keys
}

// unknownKeys reads the next value, a messages[0], whose repeated fields are messages[1]
// and so on, and adds its unknown keys to keys.
func unknownKeys(c *cursor, keys *[]string, messages ...message) {
	if len(messages) == 0 || !c.is('{') {
		c.skip()
		return
	}
	c.open('{')
	for c.more('}') {
		name := c.key()
		num := messages[0].number(name)
		if num == 0 {
			key := strings.ToValidUTF8(string(name[:min(len(name), maxUnknownBytes)]), "")
			if len(*keys) < maxUnknownKeys && !slices.Contains(*keys, key) {
				*keys = append(*keys, key)
			}
		}
		if !messages[0][num].repeated || !c.open('[') {
			c.skip()
			continue
		}
		for c.more(']') {
			unknownKeys(c, keys, messages[1:]...)
		}
	}
}
