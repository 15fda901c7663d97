package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

const (
	anyEndpoint    = "OTEL_EXPORTER_OTLP_ENDPOINT"
	tracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
)

func TestResolveEndpoint(t *testing.T) {
	for _, c := range []struct {
		endpoint string
		env      []string
		want     string
	}{
		{"", nil, "http://localhost:4318/v1/traces"},
		{"http://traces", nil, "http://traces/v1/traces"},
		{"https://traces:4318/", nil, "https://traces:4318/v1/traces"},
		{"http://[::1]:4318", nil, "http://[::1]:4318/v1/traces"},
		{"http://traces/otlp", nil, "http://traces/otlp/v1/traces"},
		{"http://traces/otlp/", nil, "http://traces/otlp/v1/traces"},
		{"http://traces/otlp/v1/traces", nil, "http://traces/otlp/v1/traces"},
		{"http://given", []string{anyEndpoint, "http://any", tracesEndpoint, "http://traces"}, "http://given/v1/traces"},
		{"", []string{anyEndpoint, "http://any:4318"}, "http://any:4318/v1/traces"},
		{"", []string{anyEndpoint, "http://any/base/"}, "http://any/base/v1/traces"},
		{"", []string{anyEndpoint, "http://any", tracesEndpoint, "http://traces/here"}, "http://traces/here"},
		{"", []string{anyEndpoint, "http://any", tracesEndpoint, " "}, "http://any/v1/traces"},
	} {
		got, err := resolveEndpoint(c.endpoint, env(c.env...))
		testkit.NoError(t, err)
		testkit.Equal(t, c.endpoint+strings.Join(c.env, " "), got, c.want)
	}
}

// An error says what to write instead and contains no password.
func TestResolveEndpointErrors(t *testing.T) {
	for _, c := range []struct {
		endpoint string
		env      []string
		want     string
	}{
		{"localhost:4318", nil, `endpoint "localhost:4318" has no scheme: write http://localhost:4318, or https:// for TLS`},
		{"127.0.0.1:4318", nil, "write http://127.0.0.1:4318"},
		{"grpc://traces:4317", nil, "unsupported scheme grpc: want http or https"},
		{"http://me:secret@traces", nil, "put them into Options.Header"},
		{"http://me:secret@tra ces", nil, "not a URL: invalid character"},
		{"http://:4318", nil, "has no host"},
		{"http://traces?key=1", nil, "must not have a query"},
		{"http://traces#x", nil, "must not have a query or a fragment"},
		{"", []string{anyEndpoint, "traces:4318"}, anyEndpoint + `: endpoint "traces:4318" has no scheme`},
		{"", []string{tracesEndpoint, "ftp://traces"}, tracesEndpoint + ": endpoint"},
	} {
		_, err := resolveEndpoint(c.endpoint, env(c.env...))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v, want %s", c.endpoint, err, c.want)
		}
	}
}

func TestHeaderFromEnv(t *testing.T) {
	for list, want := range map[string]http.Header{
		"":                              {},
		"a=1":                           {"A": {"1"}},
		" a = 1 , b=2=3,,":              {"A": {"1"}, "B": {"2=3"}},
		"authorization=Basic%20Zm9v%3D": {"Authorization": {"Basic Zm9v="}},
		"a=":                            {"A": {""}},
		"a=%":                           nil,
		"a":                             nil,
		"=1":                            nil,
		"a b=1":                         nil,
		"a=%0d%0ab: 1":                  nil,
		"a=%C3%A4%2C%3B,b=x%20y":        {"A": {"ä,;"}, "B": {"x y"}},
	} {
		got, err := headerFromEnv(env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", list, "OTEL_EXPORTER_OTLP_HEADERS", ""))
		if want == nil && (err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_TRACES_HEADERS: want key=value")) {
			t.Errorf("%q: got %v, want an error that names the variable", list, err)
		}
		testkit.Equal(t, list, got, want)
	}
	got, err := headerFromEnv(env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=traces", "OTEL_EXPORTER_OTLP_HEADERS", "a=all,b=all"))
	testkit.NoError(t, err)
	testkit.Equal(t, "of traces", got, http.Header{"A": {"traces"}})
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		env  []string
		want string // timeout and compression, or the error
	}{
		{"defaults", Options{}, nil, "10s "},
		{"environment", Options{}, []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "2500", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}, "2.5s gzip"},
		{"environment of traces", Options{}, []string{
			"OTEL_EXPORTER_OTLP_TIMEOUT", "2500", "OTEL_EXPORTER_OTLP_COMPRESSION", "none",
			"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"}, "1s gzip"},
		{"options", Options{Timeout: 3e9, Compression: "gzip"}, []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "x", "OTEL_EXPORTER_OTLP_COMPRESSION", "x"}, "3s gzip"},
		{"bad timeout", Options{}, []string{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s"}, `OTEL_EXPORTER_OTLP_TIMEOUT: "10s": want milliseconds`},
		{"bad compression", Options{Compression: "zstd"}, nil, `Options.Compression: "zstd" is unknown: want gzip or none`},
		{"bad compression in environment", Options{}, []string{"OTEL_EXPORTER_OTLP_COMPRESSION", "br"}, `OTEL_EXPORTER_OTLP_COMPRESSION: "br" is unknown: want gzip or none`},
		{"bad header", Options{Header: http.Header{"a b": {"1"}}}, nil, `Options.Header: "a b" cannot be sent`},
	} {
		s, err := newSender("", c.o, env(c.env...))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = s.timeout.String() + " " + s.compression
		}
		testkit.Equal(t, c.name, got, c.want)
	}
}

// The program's endpoint says which protocol it is for. Without one, the environment must
// not ask for another.
func TestProtocol(t *testing.T) {
	const all, traces = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
	for _, c := range []struct {
		endpoint string
		env      []string
		want     string
	}{
		{"", nil, ""},
		{"", []string{all, "http/protobuf"}, ""},
		{"", []string{all, "grpc", traces, "http/protobuf"}, ""},
		{"http://traces:4318", []string{all, "grpc"}, ""},
		{"", []string{all, "grpc"}, all + ": grpc is not supported: set it to http/protobuf, and the endpoint to the port for HTTP, usually 4318 instead of 4317"},
		{"", []string{all, "http/protobuf", traces, "grpc"}, traces + ": grpc is not supported: set it to http/protobuf, and the endpoint to the port for HTTP, usually 4318 instead of 4317"},
		{"", []string{all, "http/json"}, all + `: "http/json" is not supported: set it to http/protobuf`},
		{"", []string{all, "HTTP"}, all + `: "HTTP" is not supported: set it to http/protobuf`},
	} {
		_, err := newSender(c.endpoint, Options{}, env(c.env...))
		got := ""
		if err != nil {
			got = err.Error()
		}
		testkit.Equal(t, c.endpoint+strings.Join(c.env, " "), got, c.want)
	}
}

// writeCertificate makes a key and a certificate, and writes both to files. The
// certificate is its own authority.
func writeCertificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	testkit.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	testkit.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	testkit.NoError(t, os.WriteFile(keyFile, keyPEM, 0o600))
	pair, err = tls.X509KeyPair(certPEM, keyPEM)
	testkit.NoError(t, err)
	return certFile, keyFile, pair
}

// The certificates of the environment are used: the collector is trusted because of them,
// and so is the client.
func TestCertificates(t *testing.T) {
	testkit.NoLeaks(t)
	serverFile, _, serverPair := writeCertificate(t)
	clientFile, clientKey, clientPair := writeCertificate(t)
	clients := x509.NewCertPool()
	clients.AddCert(clientPair.Leaf)
	far := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("Retry-After", "7") // shows that the client was recognized
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	far.TLS = &tls.Config{Certificates: []tls.Certificate{serverPair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	far.Config.ErrorLog = log.New(io.Discard, "", 0) // the client does not trust it at first
	far.StartTLS()
	defer far.Close()
	const prefix, traces = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
	for _, c := range []struct {
		name string
		env  []string
		want string
	}{
		{"authorities of the system", nil, "certificate signed by unknown authority"},
		{"insecure is for gRPC", []string{prefix + "INSECURE", "true"}, "certificate signed by unknown authority"},
		{"authority", []string{prefix + "CERTIFICATE", serverFile}, "503 Service Unavailable"},
		{"authority for traces", []string{prefix + "CERTIFICATE", clientFile, traces + "CERTIFICATE", serverFile}, "503 Service Unavailable"},
		{"wrong authority", []string{traces + "CERTIFICATE", clientFile}, "certificate signed by unknown authority"},
		{"client", []string{prefix + "CERTIFICATE", serverFile, prefix + "CLIENT_CERTIFICATE", clientFile, prefix + "CLIENT_KEY", clientKey},
			"503 Service Unavailable after 7s"},
		{"client for traces", []string{prefix + "CERTIFICATE", serverFile, traces + "CLIENT_CERTIFICATE", clientFile, traces + "CLIENT_KEY", clientKey},
			"503 Service Unavailable after 7s"},
	} {
		s, err := newSender(far.URL, Options{}, env(c.env...))
		testkit.NoError(t, err)
		a := s.post(t.Context(), &content{})
		got := fmt.Sprint(a.err)
		if a.after > 0 {
			got += fmt.Sprintf(" after %v", a.after)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		s.closeIdle()
	}
}

func TestCertificateErrors(t *testing.T) {
	certFile, keyFile, _ := writeCertificate(t)
	_, otherKey, _ := writeCertificate(t)
	missing := filepath.Join(t.TempDir(), "missing.pem")
	const prefix = "OTEL_EXPORTER_OTLP_"
	for _, c := range []struct {
		endpoint string
		env      []string
		want     string // "" for no error
	}{
		{"https://traces", []string{prefix + "CERTIFICATE", missing}, prefix + "CERTIFICATE: open " + missing},
		{"https://traces", []string{prefix + "CERTIFICATE", keyFile}, prefix + "CERTIFICATE: " + keyFile + " has no certificate in PEM"},
		{"https://traces", []string{prefix + "CLIENT_CERTIFICATE", certFile}, prefix + "CLIENT_CERTIFICATE is set: set OTEL_EXPORTER_OTLP_CLIENT_KEY, too"},
		{"https://traces", []string{prefix + "TRACES_CLIENT_KEY", keyFile}, prefix + "TRACES_CLIENT_KEY is set: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, too"},
		{"https://traces", []string{prefix + "CLIENT_CERTIFICATE", certFile, prefix + "CLIENT_KEY", otherKey},
			prefix + "CLIENT_CERTIFICATE and " + prefix + "CLIENT_KEY: tls: private key does not match public key"},
		{"http://traces", []string{prefix + "CERTIFICATE", missing}, ""},
		{"", []string{prefix + "ENDPOINT", "HTTPS://traces", prefix + "CERTIFICATE", missing}, prefix + "CERTIFICATE: open " + missing},
	} {
		_, err := newSender(c.endpoint, Options{}, env(c.env...))
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%v: got %s, want %s", c.env, got, c.want)
		}
	}
	_, err := newSender("https://traces", Options{HTTPClient: http.DefaultClient}, env(prefix+"CERTIFICATE", missing))
	testkit.NoError(t, err) // the program's client has its own certificates
}
