package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.NoError(a.t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	testkit.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	testkit.NoError(a.t, err)
	return cert, key
}

// issue writes a certificate with a name, and its key, to dir.
func (a *authority) issue(dir, name string) (certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.NoError(a.t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(a.t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(a.t, keyFile, "PRIVATE KEY", der)
	return certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	testkit.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// client returns a client that trusts a, and has the certificate in certFile if that is not "".
func (a *authority) client(certFile, keyFile string, change ...func(*tls.Config)) *http.Client {
	a.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AddCert(a.cert)
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		testkit.NoError(a.t, err)
		config.Certificates = []tls.Certificate{cert}
	}
	for _, f := range change {
		f(config)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}, Timeout: 30 * time.Second}
}

// subject returns the name in the certificate of the server at to.
func subject(t *testing.T, c *http.Client, to string) string {
	t.Helper()
	res, err := c.Get(to + "/healthz")
	testkit.NoError(t, err)
	res.Body.Close()
	return res.TLS.PeerCertificates[0].Subject.CommonName
}

func TestTLS(t *testing.T) {
	testkit.NoLeaks(t)
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := ca.issue(dir, "first")
	s := start(t, "-tls-cert", cert, "-tls-key", key)
	c := ca.client("", "")
	testkit.Equal(t, "send", status(t, c, s.otlp+"/v1/traces", "", span), 200)
	testkit.Equal(t, "search", status(t, c, s.web+"/api/search", "", ""), 200)
	for _, address := range []string{s.otlp, s.grpc, s.web} {
		if !strings.HasPrefix(address, "https://") {
			t.Errorf("%s has no TLS", address)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.grpc+"/v1/traces", strings.NewReader(span))
	testkit.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	res, err := c.Do(r)
	testkit.NoError(t, err)
	res.Body.Close()
	testkit.Equal(t, "over HTTP/2", []any{res.StatusCode, res.ProtoMajor}, []any{200, 2})
	to, err := url.Parse(s.web)
	testkit.NoError(t, err)
	config := c.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	old := config.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if c, err := tls.Dial("tcp", to.Host, old); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	if runtime.GOOS == "windows" {
		return // no SIGHUP
	}

	// A connection goes on while the certificate of new ones changes.
	kept, err := tls.Dial("tcp", to.Host, config)
	testkit.NoError(t, err)
	defer kept.Close()
	get := func() int {
		fmt.Fprint(kept, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(kept), nil)
		testkit.NoError(t, err)
		res.Body.Close()
		return res.StatusCode
	}
	testkit.Equal(t, "before", get(), 200)
	ca.issue(dir, "second")
	hangUp(t)
	waitFor(t, "the new certificate", func() bool { return subject(t, c, s.web) == "second" })
	testkit.Equal(t, "after", get(), 200)

	// What cannot be used is not.
	testkit.NoError(t, os.WriteFile(key, []byte("no key"), 0o600))
	hangUp(t)
	waitFor(t, "an error in the log", func() bool { return strings.Contains(s.stderr.String(), "flag=-tls-cert err=") })
	testkit.Equal(t, "certificate", subject(t, c, s.web), "second")
	s.stop()
}

// With -tls-client-ca, clients need a certificate, and need no token to read.
func TestMutualTLS(t *testing.T) {
	testkit.NoLeaks(t)
	ca, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.pem")
	writePEM(t, caFile, "CERTIFICATE", ca.cert.Raw)
	cert, key := ca.issue(dir, "server")
	s := start(t, "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", caFile)
	c := ca.client(ca.issue(t.TempDir(), "client"))
	testkit.Equal(t, "send", status(t, c, s.otlp+"/v1/traces", "", span), 200)
	for _, path := range []string{"/api/search", "/metrics"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.web+path, nil)
		testkit.NoError(t, err)
		r.Host = "traces.example" // as from another machine
		res, err := c.Do(r)
		testkit.NoError(t, err)
		res.Body.Close()
		testkit.Equal(t, path, res.StatusCode, 200)
	}
	strangerCert, strangerKey := other.issue(t.TempDir(), "stranger")
	for name, c := range map[string]*http.Client{"no certificate": ca.client("", ""), "a certificate of another authority": ca.client(strangerCert, strangerKey, func(c *tls.Config) {
		cert := c.Certificates[0] // sent although the server does not ask for one of its issuer
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	})} {
		for _, address := range []string{s.otlp, s.grpc, s.web} {
			if res, err := c.Get(address + "/healthz"); err == nil {
				res.Body.Close()
				t.Errorf("%s is enough for %s", name, address)
			}
		}
	}
	if runtime.GOOS == "windows" {
		return
	}
	writePEM(t, caFile, "CERTIFICATE", other.cert.Raw)
	hangUp(t)
	waitFor(t, "the new authority", func() bool {
		res, err := c.Get(s.web + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	s.stop()
}

// Who connects without TLS, such as a port scanner, does not fill the log.
func TestFailedHandshakes(t *testing.T) {
	testkit.NoLeaks(t)
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := ca.issue(dir, "server")
	for level, logged := range map[string]bool{"info": false, "debug": true} {
		s := start(t, "-tls-cert", cert, "-tls-key", key, "-log-level", level)
		to, err := url.Parse(s.otlp)
		testkit.NoError(t, err)
		c, err := net.Dial("tcp", to.Host)
		testkit.NoError(t, err)
		fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
		_, err = io.Copy(io.Discard, c) // until the server closes it
		testkit.NoError(t, err)
		c.Close()
		waitFor(t, "the count", func() bool {
			_, metrics := ask(t, ca.client("", ""), s.web+"/metrics", "", "")
			return strings.Contains(metrics, `dendro_connections_broken_total{address="otlp"} 1`)
		})
		s.stop()
		testkit.Equal(t, level, strings.Contains(s.stderr.String(), "TLS handshake error"), logged)
	}
}

// Neither does who says of each connection that it has failed.
func TestGoAway(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t)
	to, err := url.Parse(s.otlp)
	testkit.NoError(t, err)
	c, err := net.Dial("tcp", to.Host)
	testkit.NoError(t, err)
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	goAway := "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x01" // PROTOCOL_ERROR
	fmt.Fprint(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings, goAway)
	_, err = io.Copy(io.Discard, c) // until the server closes it
	testkit.NoError(t, err)
	c.Close()
	s.stop()
	if log := s.stderr.String(); strings.Contains(log, "GOAWAY") {
		t.Errorf("log: %s", log)
	}
}

func TestCertificateErrors(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	cert, key := ca.issue(dir, "server")
	_, otherKey := ca.issue(t.TempDir(), "other")
	text := file(t, "not PEM")
	for _, test := range []struct {
		files certificateFiles
		want  string
	}{
		{certificateFiles{cert: text, key: key}, text},
		{certificateFiles{cert: cert, key: otherKey}, "does not match"},
		{certificateFiles{cert: cert, key: key, clientCA: text}, text + ": there is no certificate in it"},
		{certificateFiles{cert: cert, key: key, clientCA: "nowhere"}, "nowhere"},
	} {
		if _, err := openCertificates(test.files); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want %q", test.files, err, test.want)
		}
	}
}

// A secret that every user can read is worth a warning.
func TestExposedSecrets(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such permissions")
	}
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		name := file(t, "writer-0123456789abcdef")
		testkit.NoError(t, os.Chmod(name, mode))
		var out lockedBuffer
		o := serveOptions{tokenFile: name}
		_, err := openAccess(o, o.logger(&out))
		testkit.NoError(t, err)
		testkit.Equal(t, mode.String(), strings.Contains(out.String(), "chmod o-r"), want)
	}
}
