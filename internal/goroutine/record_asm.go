//go:build amd64 || arm64

package goroutine

import "unsafe"

// record returns the runtime's record of the current goroutine, a *runtime.g.
func record() unsafe.Pointer
