//go:build unix

package transport_test

import (
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/transport"
)

// What is hard to bring about.
func TestErrnoTypes(t *testing.T) {
	tracer, recorder := testkit.NewTracer(t)
	for errno, want := range map[syscall.Errno]string{
		syscall.ENETUNREACH:  "unreachable",
		syscall.EHOSTUNREACH: "unreachable",
		syscall.EPIPE:        "connection_reset",
		syscall.ECONNABORTED: "connection_reset",
		syscall.ETIMEDOUT:    "timeout",
		syscall.EACCES:       "*net.OpError",
	} {
		recorder.Reset()
		rt := transport.New(roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
		}), transport.Options{Tracer: tracer})
		req, _ := http.NewRequest("GET", "http://a.example", nil)
		_, _ = rt.RoundTrip(req)
		testkit.Equal(t, errno.Error(), recorder.Wait(t, 1)[0].Attr("error.type"), any(want))
	}
}
