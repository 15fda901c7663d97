package middleware

import "sync/atomic"

// note is what inner handlers tell about their request.
type note struct {
	route    string // set by Route and SetRoute
	final    bool   // route was set by SetRoute
	panicked string // the type of the panic that was recorded last
}

// notes is a note that goroutines share. It allocates nothing until the first change.
type notes struct{ last atomic.Pointer[note] }

var nothing note

// get returns the current note. It must not be modified.
func (n *notes) get() *note {
	if last := n.last.Load(); last != nil {
		return last
	}
	return &nothing
}

// change replaces the note by an edited copy. It may call edit more than once.
func (n *notes) change(edit func(*note)) {
	for {
		last := n.last.Load()
		next := nothing
		if last != nil {
			next = *last
		}
		if edit(&next); n.last.CompareAndSwap(last, &next) {
			return
		}
	}
}
