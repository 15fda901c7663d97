package otlp

import (
	"slices"
	"strings"
)

// Bounds of [UnknownKeysJSON].
const (
	maxUnknownKeys  = 8
	maxUnknownBytes = 64
)

// UnknownKeysJSON returns the keys of a JSON ExportTraceServiceRequest, and of its
// resourceSpans and scopeSpans, that [DecodeTracesJSON] does not know and ignores, as
// the specification asks. If a request has no spans, these keys often show why, for
// example because they are in snake_case. It returns at most 8 keys of at most 64
// bytes each, and none if data is not JSON.
func UnknownKeysJSON(data []byte) []string {
	c, err := newCursor(data)
	if err != nil {
		return nil
	}
	var keys []string
	unknownKeys(c, &keys, requestFields, resourceSpansFields, scopeSpansFields)
	return keys
}

// unknownKeys reads the next value, which is a messages[0], and appends its unknown
// keys to keys. The repeated fields of a messages[0] are messages[1], and so on.
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
