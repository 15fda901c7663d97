package operations

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/dendrotrace/dendro/collector"
)

// hour holds the sealed cells of one series in one hour: a sequence of points in any order. A
// minute may have several.
//
//	point = minute (1), count << 1 | 1 if counts are in sixty-fourths, errors, number of
//	        the first bucket, number of buckets, n * count of a bucket
//
// Numbers are varints. A bucket without durations is followed by the number of further ones.
//
// Bytes up to the length of data never change, so that they can be read without a lock.
type hour struct {
	number int64 // since the Unix epoch
	data   []byte
	limit  int // length at which points of the same minute are merged
}

const (
	fiveMinutes = 5
	hourBytes   = 48
	// fraction is the unit of counts that are not whole.
	fraction = 64
	// firstLimit is the least length at which points are merged.
	firstLimit = 512
)

// appendPoint appends a point to data.
func appendPoint(data []byte, minute int64, c *collector.Counts) []byte {
	unit, whole := 1.0, c.Spans == math.Trunc(c.Spans) && c.Errors == math.Trunc(c.Errors)
	first, last := -1, -1
	for i, n := range c.Durations.Buckets() {
		if first < 0 {
			first = i
		}
		last = i
		whole = whole && n == math.Trunc(n)
	}
	flag := uint64(0)
	if !whole {
		unit, flag = fraction, 1
	}
	number := func(n float64) uint64 { return uint64(math.Round(min(n*unit, 1<<62))) }
	data = append(data, byte(minute%60))
	data = binary.AppendUvarint(data, number(c.Spans)<<1|flag)
	data = binary.AppendUvarint(data, number(c.Errors))
	data = binary.AppendUvarint(data, uint64(max(first, 0)))
	data = binary.AppendUvarint(data, uint64(last-max(first, 0)+1))
	if first < 0 {
		return data
	}
	next := first
	for i, n := range c.Durations.Buckets() {
		if i > next {
			data = binary.AppendUvarint(append(data, 0), uint64(i-next-1))
		}
		if data = binary.AppendUvarint(data, number(n)); number(n) == 0 { // less than a unit
			data = append(data, 0)
		}
		next = i + 1
	}
	return data
}

// points calls visit for the points in data. c is valid until the next call.
func points(data []byte, visit func(minute int, c *collector.Counts)) {
	var c collector.Counts
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		data = data[size:]
		return n
	}
	for len(data) > 0 {
		minute := int(data[0])
		data = data[1:]
		c.Reset()
		count := number()
		unit := 1.0
		if count&1 != 0 {
			unit = 1.0 / fraction
		}
		c.Spans = float64(count>>1) * unit
		c.Errors = float64(number()) * unit
		i := int(number())
		for end := i + int(number()); i < end; i++ {
			if n := number(); n > 0 {
				c.Durations.AddBucket(i, float64(n)*unit)
			} else {
				i += int(number())
			}
		}
		visit(minute, &c)
	}
}

// check reports whether data is such that points can read it, and how many spans it has.
func check(data []byte) (spans float64, ok bool) {
	d := decoder{data: data}
	for len(d.data) > 0 {
		minute, count := d.byte(), d.number()
		errors := d.number()
		first, buckets := d.number(), d.number()
		if minute >= 60 || errors > count>>1 || first > collector.MaxBucket || buckets > collector.MaxBucket+1-first {
			return 0, false
		}
		for ; buckets > 0; buckets-- {
			if d.number() > 0 {
				continue
			}
			further := d.number()
			if further >= buckets {
				return 0, false
			}
			buckets -= further
		}
		if count&1 != 0 {
			spans += float64(count>>1) / fraction
		} else {
			spans += float64(count >> 1)
		}
	}
	return spans, !d.failed
}

// merge rewrites h with one point for each of the minutes that are multiples of step.
func (h *hour) merge(step int) {
	var sums [60]collector.Counts
	points(h.data, func(minute int, c *collector.Counts) { sums[minute/step*step].Merge(c) })
	var data []byte
	for m := range sums {
		if sums[m].Spans > 0 {
			data = appendPoint(data, int64(m), &sums[m])
		}
	}
	h.data = slices.Clip(append([]byte(nil), data...))
	h.limit = max(firstLimit, 2*len(data))
}
