package otlp

import (
	"bytes"
	"errors"
	"hash/maphash"
	"log/slog"
	"math/bits"
	"strconv"

	"github.com/dendrotrace/dendro"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of an attribute and of what a decoder caches.
const (
	maxDepth      = 64
	maxSharedKeys = 1024
)

var errTooDeep = errors.New("nested deeper than " + strconv.Itoa(maxDepth))

// attribute pushes v on the stack of attributes.
func (d *decoder) attribute(v value, dropped *uint32) error {
	known := d.recent.find(v)
	if known != nil && bytes.Equal(known.encoded, v.data) {
		d.attrs = append(d.attrs, known.attr)
		return nil
	}
	d.dropped = 0
	a, err := d.keyValue(v)
	if known != nil && err == nil && d.dropped == 0 && a.Key != "" && a.Value.Kind() != slog.KindAny { // of others, spans must not share the memory
		*known = recentAttr{v.data, a}
	}
	if a.Key == "" {
		d.dropped++
	} else {
		d.attrs = append(d.attrs, a)
	}
	*dropped += d.dropped
	return err
}

// recentAttrs are attributes that were decoded last, by a hash of their encoding: spans of a request
// have many in common.
type recentAttrs []recentAttr

type recentAttr struct {
	encoded []byte
	attr    slog.Attr
}

var recentSeed = maphash.MakeSeed()

// maxRecent bounds the number of recentAttrs and the size of one of them.
const (
	maxRecentAttrs = 256
	maxRecentBytes = 256
)

// newRecentAttrs returns a table for a request of some bytes.
func newRecentAttrs(size int) recentAttrs {
	return make(recentAttrs, min(maxRecentAttrs, 1<<bits.Len(uint(size/256))))
}

// find returns where an encoded attribute is if it is known, or nil if it cannot be.
func (r recentAttrs) find(v value) *recentAttr {
	if len(r) == 0 || v.typ != protowire.BytesType || len(v.data) == 0 || len(v.data) > maxRecentBytes {
		return nil
	}
	return &r[maphash.Bytes(recentSeed, v.data)&uint64(len(r)-1)]
}

// keyValue reads a KeyValue.
func (d *decoder) keyValue(v value) (a slog.Attr, err error) {
	err = keyValueFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case keyValueKey:
			a.Key, err = d.key(v)
		case keyValueValue:
			a.Value, err = d.anyValue(v)
		}
		return err
	})
	return a, err
}

// key reads a string that many spans share.
func (d *decoder) key(v value) (string, error) {
	b, err := v.utf8()
	if err != nil {
		return "", err
	}
	if s, ok := d.keys[string(b)]; ok {
		return s, nil
	}
	s := string(b)
	if len(d.keys) < maxSharedKeys {
		d.keys[s] = s
	}
	return s, nil
}

// anyValue reads an AnyValue. An AnyValue without a value becomes the zero slog.Value.
func (d *decoder) anyValue(v value) (out slog.Value, err error) {
	if d.depth++; d.depth > maxDepth {
		return out, errTooDeep
	}
	err = anyValueFields.walk(v, func(num int, v value) (err error) {
		switch num {
		case anyString:
			var s string
			s, err = v.text()
			out = slog.StringValue(s)
		case anyBool:
			var b bool
			b, err = v.bool()
			out = slog.BoolValue(b)
		case anyInt:
			out, err = v.integer()
		case anyDouble:
			var f float64
			f, err = v.double()
			out = slog.Float64Value(f)
		case anyArray:
			list := []slog.Value{}
			err = listFields.walk(v, func(_ int, v value) error {
				element, err := d.anyValue(v)
				list = append(list, element)
				return err
			})
			out = typed(list)
		case anyKvlist:
			var members dendro.KeyValues
			err = listFields.walk(v, func(_ int, v value) error {
				member, err := d.keyValue(v)
				if member.Key == "" {
					d.dropped++
				} else {
					members = append(members, member)
				}
				return err
			})
			out = slog.AnyValue(members)
		case anyBytes:
			var b []byte
			b, err = v.bytes()
			out = slog.AnyValue(b)
		}
		return err
	})
	d.depth--
	return out, err
}

// typed returns list as a slice of a type that dendro.SpanData allows.
func typed(list []slog.Value) slog.Value {
	kind := slog.KindAny
	for i, v := range list {
		if i == 0 {
			kind = v.Kind()
		} else if v.Kind() != kind {
			kind = slog.KindAny
		}
	}
	switch kind {
	case slog.KindString:
		return typedSlice(list, slog.Value.String)
	case slog.KindInt64:
		return typedSlice(list, slog.Value.Int64)
	case slog.KindFloat64:
		return typedSlice(list, slog.Value.Float64)
	case slog.KindBool:
		return typedSlice(list, slog.Value.Bool)
	}
	return slog.AnyValue(list)
}

func typedSlice[T any](list []slog.Value, get func(slog.Value) T) slog.Value {
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = get(v)
	}
	return slog.AnyValue(out)
}
