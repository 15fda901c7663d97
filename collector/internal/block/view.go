package block

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector"
)

// View decodes what a scan wants of a trace. What it returns is valid until the next call.
type View struct {
	collector.Scan
	Ctx  context.Context
	Want *Wanted

	decoder Decoder
	trace   collector.Trace
	spans   []collector.Span
	order   sorter
}

// Agrees reports whether t may be wanted, as far as the hints say and it is fast to find out.
func (v *View) Agrees(t *Trace) bool {
	if v.Want.Errors && t.Errors == 0 || !v.Want.Times(t.First, t.End) {
		return false
	}
	var has uint64
	for _, b := range t.Blocks {
		has |= b.Wanted
	}
	return has == v.Want.All()
}

// blocksPerCheck is the number of blocks after which the context is looked at.
const blocksPerCheck = 64

// Decode returns the spans of t with what is wanted of them. They are valid until the next call.
// It returns the error of the context if that is done.
func (v *View) Decode(t *Trace) (*collector.Trace, error) {
	d := &v.decoder
	d.Broken = false
	d.forgetOrigins()
	spans := v.spans[:0]
	for n, b := range slices.Backward(t.Blocks) {
		if n%blocksPerCheck == blocksPerCheck-1 && v.Ctx.Err() != nil {
			return nil, v.Ctx.Err()
		}
		d.Open(b)
		resource := d.Origin()
		head := d.First()
		for i := range d.Spans {
			d.Next(&head)
			var attrs []slog.Attr
			if n := len(spans); n < cap(spans) {
				attrs = spans[:n+1][n].Attributes[:0]
			}
			spans = append(spans, collector.Span{Resource: resource})
			s := &spans[len(spans)-1].SpanData
			s.TraceID = t.ID
			d.Span(i, &head, s)
			s.Attributes = v.attributes(attrs)
			if v.Details {
				d.Details(&head, s)
			} else {
				d.SkipDetails(&head, s)
			}
		}
	}
	v.spans = spans
	if d.Broken {
		return nil, ErrBroken
	}
	v.trace = collector.Trace{ID: t.ID, Spans: v.order.sort(spans)}
	return &v.trace, nil
}

// attributes appends the wanted attributes of a span to attrs.
func (v *View) attributes(attrs []slog.Attr) []slog.Attr {
	if !v.AllAttributes && len(v.Scan.Attributes) == 0 {
		v.decoder.SkipAttrs()
		return attrs
	}
	for r := v.decoder.List(); r.Next(); {
		if v.AllAttributes {
			attrs = append(attrs, slog.Attr{Key: r.KeyText(), Value: r.Value()})
			continue
		}
		wanted := false
		for _, key := range v.Scan.Attributes {
			if string(r.Key()) == key {
				attrs = append(attrs, slog.Attr{Key: key, Value: r.Value()})
				wanted = true
				break
			}
			if isPart(r.Key(), key) { // key may be a member of the value
				attrs = append(attrs, slog.Attr{Key: r.KeyText(), Value: r.Value()})
				wanted = true
				break
			}
		}
		if !wanted {
			r.Skip()
		}
	}
	return attrs
}

// isPart reports whether key is the dotted key of something inside an attribute of.
func isPart(of []byte, key string) bool {
	return len(key) > len(of) && key[len(of)] == '.' && key[:len(of)] == string(of)
}

// UnixNano is [time.Time.UnixNano], saturated.
func UnixNano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s > math.MaxInt64/int64(time.Second)-1:
		return math.MaxInt64
	case s < math.MinInt64/int64(time.Second)+1:
		return math.MinInt64
	}
	return t.UnixNano()
}
