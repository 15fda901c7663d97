package collector

import "strings"

// interner holds encoded resources or scopes, each once, as long as a block
// uses them.
type interner struct {
	held map[string]*interned
	most int // that were ever held
}

type interned struct {
	data    string // see encoder
	service string // of a resource
	refs    int    // blocks that use it
	bytes   int64
}

// use returns the entry of data for one more block, and the memory that this
// takes.
func (in *interner) use(data []byte, service string) (x *interned, bytes int64) {
	if x := in.held[string(data)]; x != nil {
		x.refs++
		return x, 0
	}
	x = &interned{service: strings.Clone(service), refs: 1}
	x.data, x.bytes = sealed(data)
	x.bytes += int64(len(service)) + internedBytes
	in.held[x.data] = x
	bytes = x.bytes
	if len(in.held) > in.most {
		in.most = len(in.held)
		bytes += placeBytes
	}
	return x, bytes
}

// release ends the use by one block. It returns the memory that this frees.
func (in *interner) release(x *interned) int64 {
	if x.refs--; x.refs > 0 {
		return 0
	}
	delete(in.held, x.data)
	return x.bytes
}
