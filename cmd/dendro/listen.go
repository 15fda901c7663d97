package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint is an address that the program serves.
type endpoint struct {
	flag   string // that sets the address
	scheme string // http or https

	listener *limitedListener // nil if there is no address
	server   *http.Server
	broken   atomic.Uint64 // connections that ended with an error of TLS or HTTP/2
}

// listen opens the address of an endpoint, unless it is empty.
func listen(flagName, address string, a *access, maxConnections int) (*endpoint, error) {
	e := &endpoint{flag: flagName, scheme: "http"}
	if a.certificates != nil {
		e.scheme = "https"
	}
	if address == "" {
		return e, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return e, fmt.Errorf("%w; another address: -%s host:port", err, flagName)
	}
	e.listener = &limitedListener{Listener: l, most: int64(maxConnections)}
	return e, nil
}

// on reports whether the endpoint has an address.
func (e *endpoint) on() bool { return e.listener != nil }

// address returns the address of an endpoint that is on.
func (e *endpoint) address() *net.TCPAddr { return e.listener.Addr().(*net.TCPAddr) }

// url returns the address at which this machine reaches the endpoint. The page refuses requests
// for a wildcard address.
func (e *endpoint) url() string {
	if a := e.address(); !a.IP.IsUnspecified() {
		return e.scheme + "://" + a.String()
	}
	return fmt.Sprintf("%s://localhost:%d", e.scheme, e.address().Port)
}

// close frees the address of an endpoint that does not serve.
func (e *endpoint) close() {
	if e.on() {
		e.listener.Close()
	}
}

// serve lets s serve the endpoint until it is shut down.
func (e *endpoint) serve(s *http.Server, a *access, log *slog.Logger, failed chan<- error) {
	if !e.on() {
		return
	}
	e.server = s
	e.server.ErrorLog = stdlog.New(&serverLog{log, e}, "", 0)
	serve := func() error { return e.server.Serve(e.listener) }
	if a.certificates != nil {
		e.server.TLSConfig = a.certificates.config()
		serve = func() error { return e.server.ServeTLS(e.listener, "", "") }
	}
	go func() {
		if err := serve(); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
}

// newServer returns a server that speaks HTTP/1.1 and HTTP/2, with TLS and without. gRPC needs
// HTTP/2. A body must arrive within bodyTimeout, and the response must be written in another minute:
// WriteTimeout begins before the body.
func newServer(h http.Handler, bodyTimeout time.Duration) *http.Server {
	const headerTimeout = 10 * time.Second
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout + bodyTimeout,
		WriteTimeout:      bodyTimeout + time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// serverLog writes the log of the server of an endpoint. What clients can cause is counted, and logged
// for debugging only, so that they cannot fill the log.
type serverLog struct {
	*slog.Logger
	endpoint *endpoint
}

// causedByClients are how such lines begin.
var causedByClients = []string{"http: TLS handshake error", "http2: server", "http2: received GOAWAY", "timeout waiting for"}

// Write implements [io.Writer]. p is a line.
func (l *serverLog) Write(p []byte) (int, error) {
	line, level := strings.TrimSuffix(string(p), "\n"), slog.LevelWarn
	if slices.ContainsFunc(causedByClients, func(s string) bool { return strings.HasPrefix(line, s) }) {
		l.endpoint.broken.Add(1)
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, line)
	return len(p), nil
}

// shutdown stops listening and waits until open requests have ended or ctx is done.
func (e *endpoint) shutdown(ctx context.Context, log *slog.Logger) {
	if e.server != nil && e.server.Shutdown(ctx) != nil {
		log.Warn("open requests did not end in time", "address", e.address().String())
		e.server.Close()
	}
}

// limitedListener closes connections above its limit.
type limitedListener struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused atomic.Uint64
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
			return &limitedConn{Conn: c, closed: sync.OnceFunc(func() { l.open.Add(-1) })}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = c.Close()
	}
}

type limitedConn struct {
	net.Conn
	closed func()
}

func (c *limitedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
