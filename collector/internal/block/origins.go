package block

import "github.com/dendrotrace/dendro"

// Origins decodes resources and scopes, each of them once.
type Origins struct {
	Broken bool // an encoding could not be decoded

	resources map[string]*dendro.Resource // by their encoding
	scopes    map[string]*dendro.Scope
}

// Resource decodes a resource.
func (o *Origins) Resource(data []byte) *dendro.Resource {
	if r := o.resources[string(data)]; r != nil {
		return r
	}
	s := o.decode(data)
	if o.resources == nil {
		o.resources = map[string]*dendro.Resource{}
	}
	r := &dendro.Resource{Attributes: s.Attributes, SchemaURL: s.SchemaURL, DroppedAttributes: s.DroppedAttributes}
	o.resources[string(data)] = r
	return r
}

// Scope decodes a scope.
func (o *Origins) Scope(data []byte) *dendro.Scope {
	if s := o.scopes[string(data)]; s != nil {
		return s
	}
	if o.scopes == nil {
		o.scopes = map[string]*dendro.Scope{}
	}
	s := o.decode(data)
	o.scopes[string(data)] = s
	return s
}

func (o *Origins) decode(data []byte) *dendro.Scope {
	var d Decoder
	d.Use(data)
	s := &dendro.Scope{Attributes: d.attrs(), Name: d.text(), Version: d.text(), SchemaURL: d.text(), DroppedAttributes: uint32(d.uvarint())}
	o.Broken = o.Broken || d.Failed
	return s
}
