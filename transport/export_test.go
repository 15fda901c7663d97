package transport

// Redirects returns how many redirects t remembers.
func (t *Transport) Redirects() (n int) {
	t.redirects.byResponse.Range(func(any, any) bool { n++; return true })
	return n
}
