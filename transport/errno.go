//go:build !windows && !plan9

package transport

import (
	"errors"
	"syscall"
)

// socketErrorType returns the error.type of an error number of the system, or "" for
// any other error.
func socketErrorType(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return connectionRefused
	case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE:
		return connectionReset
	case syscall.EHOSTUNREACH, syscall.ENETUNREACH:
		return unreachable
	}
	return ""
}
