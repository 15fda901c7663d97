package transport

import (
	"errors"
	"syscall"
)

// These are errors of Windows Sockets that package syscall does not name.
const (
	wsaeNetUnreach  = syscall.Errno(10051)
	wsaeConnRefused = syscall.Errno(10061)
	wsaeHostUnreach = syscall.Errno(10065)
)

// socketErrorType returns the error.type of an error number of the system, or "" for
// any other error. ECONNREFUSED and the like in package syscall have invented values
// on Windows, which connections do not return.
func socketErrorType(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case wsaeConnRefused:
		return connectionRefused
	case syscall.WSAECONNRESET, syscall.WSAECONNABORTED:
		return connectionReset
	case wsaeHostUnreach, wsaeNetUnreach:
		return unreachable
	}
	return ""
}
