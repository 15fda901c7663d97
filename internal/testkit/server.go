package testkit

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Protocols are the versions of HTTP that [Serve] supports.
var Protocols = []string{"1.1", "2"}

// Serve starts a server for a version of HTTP, with TLS for "2", and stops it when the
// test ends.
func Serve(t testing.TB, version string, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if version == "2" {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}
