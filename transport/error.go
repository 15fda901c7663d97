package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// These are the results of socketErrorType on systems that have error numbers.
const (
	connectionRefused = "connection_refused"
	connectionReset   = "connection_reset"
	unreachable       = "unreachable"
)

// errorType returns the error.type of err: a word for common errors, or the Go type.
// It returns the Go type, too, if a method of err panics, as that of a nil pointer
// may. x is the exchange that err ended, or nil if err ended just a phase.
func errorType(x *exchange, err error) (name string) {
	defer func() {
		if recover() != nil {
			name = fmt.Sprintf("%T", err)
		}
	}()
	var timeout interface{ Timeout() bool }
	var dns *net.DNSError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), x != nil && expired(x.Context):
		return "timeout"
	case errors.Is(err, context.Canceled), x != nil && (x.Err() != nil || canceled(x.request.Cancel)): //nolint:staticcheck // deprecated, but http.Client sets it
		return "canceled"
	case errors.As(err, &dns):
		return "dns"
	case isTLS(err):
		return "tls"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	if name := socketErrorType(err); name != "" {
		return name
	}
	return goType(err)
}

// goType returns the type of err, or of the error it wraps if its own type is of
// package fmt.
func goType(err error) string {
	name := fmt.Sprintf("%T", err)
	if inner := errors.Unwrap(err); inner != nil && name == "*fmt.wrapError" {
		return goType(inner)
	}
	return name
}

// expired reports whether the deadline of ctx has passed. [http.Client] also closes
// Request.Cancel then, which may be noticed first.
func expired(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

func canceled(cancel <-chan struct{}) bool {
	select {
	case <-cancel:
		return true
	default:
		return false
	}
}

// isTLS reports whether the TLS handshake failed or the peer did not speak TLS.
func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var op *net.OpError // of a TLS alert, whose own type is not exported
	return errors.As(err, &certificate) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// describeError records err, which ended x.
func (x *exchange) describeError(err error) {
	span := x.span
	span.SetAttributes(slog.String(semconv.ErrorType, errorType(x, err)))
	defer func() {
		if recover() != nil { // a method of err
			span.RecordError(err)
		}
	}()
	original := err.Error()
	message := redactedMessage(err, original)
	if message == original {
		span.RecordError(err)
		return
	}
	span.SetStatus(dendro.StatusError, message)
	span.RecordError(err, slog.String(semconv.ExceptionMessage, message))
}

// redactedMessage returns message, the message of err, without credentials and values
// of query parameters. A [url.Error] contains the whole URL, and a base that is itself
// a client may return one.
func redactedMessage(err error, message string) string {
	var failed *url.Error
	if errors.As(err, &failed) && failed.Op == "parse" { // where a password would be is not known
		return "parse: invalid URL"
	}
	return semconv.RedactURLs(message)
}
