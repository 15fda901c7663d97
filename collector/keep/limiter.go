package keep

// limiter admits about limit traces in a second. Above that it admits those with the highest priority, so that
// processes which see the same traces admit the same ones.
type limiter struct {
	second       int64 // since the Unix epoch
	hits, before float64
}

// admit reports whether to admit a trace at a time in seconds, and for how many it then stands.
func (l *limiter) admit(second int64, priority, limit float64) (weight float64, ok bool) {
	switch {
	case second == l.second+1:
		l.second, l.hits, l.before = second, 0, l.hits
	case second != l.second:
		l.second, l.hits, l.before = second, 0, 0
	}
	l.hits++
	n := max(l.hits, l.before)
	if n <= limit {
		return 1, true
	}
	share := limit / n
	return 1 / share, priority >= 1-share
}
