package transport

import (
	"errors"
	"syscall"
)

// The errors of Windows Sockets that package syscall has no names for.
const (
	wsaeNetUnreach  = syscall.Errno(10051)
	wsaeConnRefused = syscall.Errno(10061)
	wsaeHostUnreach = syscall.Errno(10065)
)

// socketErrorType returns the error.type of what the system says of a connection,
// "" for anything else. Package syscall invents the values of ECONNREFUSED and the
// like on Windows; connections do not return them.
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
