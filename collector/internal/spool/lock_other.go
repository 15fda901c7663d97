//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package spool

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func lockFile(string) (*os.File, error) {
	return nil, fmt.Errorf("files cannot be locked on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func syncDir(*os.Root) error { return nil }
