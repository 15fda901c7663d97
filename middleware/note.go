package middleware

import "sync/atomic"

// note is what handlers inside have told about their request.
type note struct {
	route    string // by Route and SetRoute
	final    bool   // route is, by SetRoute
	panicked string // the type of the panic that was recorded last
}

// notes is a note that goroutines share. It takes no memory unless there is something
// to tell.
type notes struct{ last atomic.Pointer[note] }

var nothing note

// get returns the note, which does not change.
func (n *notes) get() *note {
	if last := n.last.Load(); last != nil {
		return last
	}
	return &nothing
}

// change replaces the note by what edit makes of it. Edit may be called several times.
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
