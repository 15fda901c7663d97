package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// pipeListener accepts one connection.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, io.EOF
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A sender gets an answer however long -body-timeout is: that its spans are stored, or that the body
// was too slow.
func TestSlowBody(t *testing.T) {
	const timeout = 10 * time.Minute
	for took, want := range map[time.Duration]int{timeout - time.Second: http.StatusOK, timeout + time.Second: http.StatusServiceUnavailable} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(server.New(memory.New(memory.Options{}), server.Options{ReadTimeout: timeout}), timeout)
			client, conn := net.Pipe()
			l := make(pipeListener, 1)
			l <- conn
			close(l)
			_ = s.Serve(l) // returns as there are no more connections
			half := len(span) / 2
			rest := time.AfterFunc(took, func() { fmt.Fprint(client, span[half:]) })
			defer rest.Stop()
			fmt.Fprintf(client, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(span), span[:half])
			res, err := http.ReadResponse(bufio.NewReader(client), nil)
			testkit.NoError(t, err)
			res.Body.Close()
			testkit.Equal(t, took.String(), res.StatusCode, want)
			client.Close()
		})
	}
}
