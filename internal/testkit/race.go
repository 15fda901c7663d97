//go:build race

package testkit

// Race reports whether the race detector is enabled. It allocates memory.
const Race = true
