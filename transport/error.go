package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errorType returns the error.type of err: "timeout", "canceled" or the Go type.
func errorType(r *http.Request, err error) string {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() || expired(r.Context()) {
		return "timeout"
	}
	if errors.Is(err, context.Canceled) || r.Context().Err() != nil || canceled(r) {
		return "canceled"
	}
	return fmt.Sprintf("%T", err)
}

// expired reports whether the deadline of ctx has passed: also when Cancel,
// which [http.Client] closes then too, has come first.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

func canceled(r *http.Request) bool {
	select {
	case <-r.Cancel: //nolint:staticcheck // deprecated, but http.Client sets it
		return true
	default:
		return false
	}
}
