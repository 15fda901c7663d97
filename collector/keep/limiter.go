package keep

import "time"

// limiter admits about limit traces a second, or one in 1/limit seconds. Above that it admits those with the highest
// priority, so that processes which see the same traces admit the same ones.
type limiter struct {
	window                 int64 // number since the Unix epoch
	hits, before, admitted float64
}

// hardLimit is how many times the limit is admitted at most. Trace ids come from callers, who may choose those with a high
// priority.
const hardLimit = 8

// admit reports whether to admit a trace, and for how many it then stands. limit must be the same in all calls.
func (l *limiter) admit(now time.Time, priority, limit float64) (weight float64, ok bool) {
	length := max(1, 1/limit) // of a window, in seconds
	limit *= length
	switch window := now.UnixNano() / int64(length*1e9); {
	case window == l.window+1:
		*l = limiter{window: window, before: l.hits}
	case window != l.window:
		*l = limiter{window: window}
	}
	l.hits++
	share := min(1, limit/max(l.hits, l.before))
	if priority < 1-share || l.admitted >= hardLimit*limit {
		return 0, false
	}
	l.admitted++
	return 1 / share, true
}
