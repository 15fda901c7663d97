package sqltext

import (
	"strings"
	"sync"
)

const (
	// maxCachedText bounds the length of the statements in a cache. generation is
	// the number of statements in half of the cache.
	maxCachedText = 8 << 10
	generation    = 512
)

// Cache remembers what was parsed from the text of statements. It has two generations. When the newer
// one is full, the older one is dropped. It is safe for concurrent use.
type Cache[T any] struct {
	Parse func(query string) *T // immutable

	mu           sync.RWMutex
	newer, older map[string]*T // guarded by mu
}

// Get returns what Parse returns for query, now or before.
func (c *Cache[T]) Get(query string) *T {
	c.mu.RLock()
	s, old := c.newer[query], c.older[query]
	c.mu.RUnlock()
	switch {
	case s != nil:
		return s
	case old != nil:
		s = old
	case len(query) > maxCachedText:
		return c.Parse(query)
	default:
		query = strings.Clone(query) // query may be part of a larger string
		s = c.Parse(query)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newer == nil || len(c.newer) >= generation {
		c.newer, c.older = make(map[string]*T), c.newer
	}
	c.newer[query] = s
	return s
}
