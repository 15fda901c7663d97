package otlp

import (
	"errors"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// message describes the known fields of a message. The index is the field number in
// protobuf.
type message []field

type field struct {
	name     string // in JSON, or "" for unknown numbers
	repeated bool
}

var errMalformed = errors.New("malformed, or cut short")

// repeated marks repeated fields in the tables of schema.go.
const repeated = true

// walk calls f for each known field of v, and for each element of a repeated field. f
// must read the value. walk adds the name of the field to the error of f.
func (m message) walk(v value, f func(num int, v value) error) error {
	if v.json != nil {
		return m.walkJSON(v.json, f)
	}
	if err := v.want(protowire.BytesType); err != nil {
		return err
	}
	for rest := v.data; len(rest) > 0; {
		num, next, n := consumeField(rest)
		if n < 0 {
			return errMalformed
		}
		if num < len(m) && m[num].name != "" {
			if err := f(num, next); err != nil {
				return m.at(num, countFields(v.data[:len(v.data)-len(rest)], num), err)
			}
		}
		rest = rest[n:]
	}
	return nil
}

// countFields counts the fields num in data, which walk has accepted before.
func countFields(data []byte, num int) (count int) {
	for len(data) > 0 {
		got, _, n := consumeField(data)
		if got == num {
			count++
		}
		data = data[n:]
	}
	return count
}

func (m message) walkJSON(c *cursor, f func(num int, v value) error) error {
	if c.skipNull() {
		return nil
	}
	if !c.open('{') {
		return c.want("an object")
	}
	for c.more('}') {
		num := m.number(c.key())
		switch {
		case num == 0:
			c.skip()
		case c.skipNull():
		case !m[num].repeated:
			if err := f(num, value{json: c}); err != nil {
				return m.at(num, 0, err)
			}
		case !c.open('['):
			return m.at(num, 0, c.want("an array"))
		default:
			for i := 0; c.more(']'); i++ {
				if err := f(num, value{json: c}); err != nil {
					return m.at(num, i, err)
				}
			}
		}
	}
	return nil
}

// number returns the field number of a JSON name, or 0 if the name is unknown.
func (m message) number(name []byte) int {
	for num := range m {
		if m[num].name == string(name) && num > 0 {
			return num
		}
	}
	return 0
}

// fieldError is an error in a field, somewhere inside a message.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }

// at prepends a field to the path of err. index is the index of the element if the
// field is repeated.
func (m message) at(num, index int, err error) error {
	path := m[num].name
	if m[num].repeated {
		path += "[" + strconv.Itoa(index) + "]"
	}
	if below := (*fieldError)(nil); errors.As(err, &below) {
		return &fieldError{path + "." + below.path, below.err}
	}
	return &fieldError{path, err}
}
