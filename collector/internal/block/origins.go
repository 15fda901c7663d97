package block

import (
	"math"

	"github.com/dendrotrace/dendro"
)

// origin is an encoded resource and scope, with their offsets in the segment where they
// were last written for a block.
type origin struct {
	resourceOf      *dendro.Resource
	scopeOf         *dendro.Scope
	resource, scope string
	segment         uint32
	resourceAt      int
	scopeAt         int
}

const (
	// recentOrigins is the number of resources and scopes whose encoding is kept for
	// later blocks.
	recentOrigins = 8
	// maxOriginBytes bounds the size of a kept encoding. The resource and scope that
	// it was made from are kept as well.
	maxOriginBytes = 2 << 10
	// OriginsBytes bounds what an encoder keeps of resources and scopes.
	OriginsBytes = recentOrigins * 2 * maxOriginBytes
)

// of reports whether o is the encoding of r and s.
func (o *origin) of(r *dendro.Resource, s *dendro.Scope) bool {
	return o.resourceOf == r && o.scopeOf == s && o.resource != ""
}

// origin returns the encoding of r and s, which may be nil. It is valid until the next
// call.
func (e *Encoder) origin(r *dendro.Resource, s *dendro.Scope) *origin {
	for i := range e.origins {
		if o := &e.origins[i]; o.of(r, s) {
			return o
		}
	}
	o := origin{resourceOf: r, scopeOf: s, resource: string(appendResource(nil, r)), scope: string(appendScope(nil, s))}
	if len(o.resource)+len(o.scope) > maxOriginBytes {
		return &o
	}
	kept := &e.origins[e.turn]
	e.turn = (e.turn + 1) % recentOrigins
	*kept = o
	return kept
}

// encoded returns the encoding of s, which may be nil.
func (e *Encoder) encoded(s *dendro.Scope) string {
	for i := range e.origins {
		if o := &e.origins[i]; o.scopeOf == s && o.resource != "" {
			return o.scope
		}
	}
	return e.origin(nil, s).scope
}

// appendResource appends a resource, which may be nil.
func appendResource(b []byte, r *dendro.Resource) []byte {
	if r == nil {
		r = &dendro.Resource{}
	}
	return appendScope(b, &dendro.Scope{Attributes: r.Attributes, SchemaURL: r.SchemaURL, DroppedAttributes: r.DroppedAttributes})
}

// appendScope appends a scope, which may be nil.
func appendScope(b []byte, s *dendro.Scope) []byte {
	if s == nil {
		s = &dendro.Scope{}
	}
	e := Encoder{Limit: math.MaxInt}
	b = e.attrs(b, s.Attributes)
	b = e.text(b, s.Name)
	b = e.text(b, s.Version)
	b = e.text(b, s.SchemaURL)
	return appendUvarint(b, uint64(s.DroppedAttributes))
}

// Origin reads the resource of the open block, and its scope, which Span sets. Neither is
// nil. The same pointer is returned for the same encoding until they are forgotten.
func (d *Decoder) Origin() *dendro.Resource {
	data := d.raw()
	r := d.resources[string(data)]
	if r == nil {
		s := d.decodeScope(data)
		r = &dendro.Resource{Attributes: s.Attributes, SchemaURL: s.SchemaURL, DroppedAttributes: s.DroppedAttributes}
		if d.resources == nil {
			d.resources = map[string]*dendro.Resource{}
		}
		d.resources[string(data)] = r
	}
	d.scope = d.scopeOf(d.raw())
	return r
}

// maxOrigins is the number of resources and scopes above which those that were read are forgotten.
const maxOrigins = 1000

// forgetOrigins forgets the resources and scopes that were read if they are many. It is called before a
// trace, of which those of the same encoding have the same pointer.
func (d *Decoder) forgetOrigins() {
	if len(d.resources)+len(d.scopes) > maxOrigins {
		clear(d.resources)
		clear(d.scopes)
	}
}

// SkipOrigin skips the resource and the scope of the open block.
func (d *Decoder) SkipOrigin() {
	d.place()
	d.place()
}

// scopeOf returns the scope with the given encoding.
func (d *Decoder) scopeOf(data []byte) *dendro.Scope {
	if s := d.scopes[string(data)]; s != nil {
		return s
	}
	if d.scopes == nil {
		d.scopes = map[string]*dendro.Scope{}
	}
	s := d.decodeScope(data)
	d.scopes[string(data)] = s
	return s
}

func (d *Decoder) decodeScope(data []byte) *dendro.Scope {
	var in Decoder
	in.use(data, 0, len(data))
	in.CopyAll()
	s := &dendro.Scope{Attributes: in.attrs(), Name: in.text(), Version: in.text(), SchemaURL: in.text(), DroppedAttributes: uint32(in.uvarint())}
	if in.Failed {
		d.fail()
	}
	return s
}
