package block

import (
	"log/slog"
	"math"
	"math/bits"
	"strconv"

	"github.com/dendrotrace/dendro"
)

// Filter is a Bloom filter with two bits for each hash: a set of hashes that may report a
// hash that was never added. Its length is a power of two.
type Filter []uint64

// places returns where the two bits of hash are.
func (f Filter) places(hash uint64) (word1, bit1, word2, bit2 uint64) {
	a, b := Places(len(f), hash)
	return a / 64, 1 << (a % 64), b / 64, 1 << (b % 64)
}

// Add adds hash and reports whether it may have been added before.
func (f Filter) Add(hash uint64) bool {
	word1, bit1, word2, bit2 := f.places(hash)
	had := f[word1]&bit1 != 0 && f[word2]&bit2 != 0
	f[word1] |= bit1
	f[word2] |= bit2
	return had
}

// Places returns the numbers of the two bits of hash in a filter of some words.
func Places(words int, hash uint64) (a, b uint64) {
	mask := uint64(words)*64 - 1
	return hash & mask, (hash * multiplier) >> 32 & mask
}

// Has reports whether hash may have been added.
func (f Filter) Has(hash uint64) bool {
	word1, bit1, word2, bit2 := f.places(hash)
	return f[word1]&bit1 != 0 && f[word2]&bit2 != 0
}

// Hashes of what is not a text.
const (
	hashName  = 0x9fb21c651e98df25 // of the name of a span, in place of a key
	hashOther = 0xd6e8feb86659fd93 // of values that have no hash of their own, such as arrays
	hashTrue  = 0xa0761d6478bd642f
	hashFalse = 0xe7037ed1a0b428db
)

// pair combines the hashes of a key and a value.
func pair(key, value uint64) uint64 {
	h := (key ^ bits.RotateLeft64(value, 29)) * multiplier
	return h ^ h>>29
}

// HashName returns the hash of the name of a span, as it is in the filter of a segment.
func HashName(name string) uint64 { return pair(hashName, HashText(name)) }

// HashAttr returns the hashes of an attribute, of which one is in the filter of a segment
// with a span or a resource that has it, or has an array with the value. Numbers are the same
// if their values are.
func HashAttr(a slog.Attr) []uint64 {
	key := HashText(a.Key)
	return []uint64{pair(key, hashValue(a.Value)), pair(key, hashOther)}
}

// HashAttrText is HashAttr for attributes with a value of which text is the text.
func HashAttrText(key, text string) []uint64 {
	hashes := HashAttr(slog.String(key, text))
	of := func(v slog.Value) { hashes = append(hashes, pair(HashText(key), hashValue(v))) }
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		of(slog.Float64Value(f))
	}
	if b, err := strconv.ParseBool(text); err == nil {
		of(slog.BoolValue(b))
	}
	return hashes
}

func hashValue(v slog.Value) uint64 {
	switch v.Kind() {
	case slog.KindString:
		return HashText(v.String())
	case slog.KindInt64:
		return math.Float64bits(float64(v.Int64())) * multiplier
	case slog.KindFloat64:
		return math.Float64bits(v.Float64()+0) * multiplier // + 0: there is a negative zero
	case slog.KindBool:
		if v.Bool() {
			return hashTrue
		}
		return hashFalse
	}
	return hashOther
}

// attrs adds attributes.
func (f Filter) attrs(attrs []slog.Attr) {
	for i := range attrs {
		key := HashText(attrs[i].Key)
		f.Add(key)
		f.Add(pair(key, hashValue(attrs[i].Value)))
		f.below(attrs[i].Key, attrs[i].Value)
	}
}

// MaxKey is the length of the longest dotted key in a filter, so that a list with a long key
// and many members does not take long.
const MaxKey = 256

// below adds the attributes inside v, the value of key, under their dotted keys.
func (f Filter) below(key string, v slog.Value) {
	if v.Kind() != slog.KindAny {
		return
	}
	switch x := v.Any().(type) {
	case dendro.KeyValues:
		for i := range x {
			f.member(key, x[i].Key, x[i].Value)
		}
	case []slog.Value:
		for i, v := range x {
			f.member(key, strconv.Itoa(i), v)
		}
	}
}

func (f Filter) member(prefix, key string, v slog.Value) {
	if len(prefix)+1+len(key) <= MaxKey {
		f.attrs([]slog.Attr{{Key: prefix + "." + key, Value: v}})
	}
}
