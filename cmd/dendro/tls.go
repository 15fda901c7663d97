package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// certificateFiles are the names of files in PEM. They are empty without TLS.
type certificateFiles struct {
	cert, key string
	clientCA  string // "" if clients need no certificate
}

// certificates are what is in certificateFiles, for as many listeners as there are.
type certificates struct {
	files   certificateFiles
	current atomic.Pointer[tls.Config]
}

func openCertificates(files certificateFiles) (*certificates, error) {
	c := &certificates{files: files}
	return c, c.Reload()
}

// Reload reads the files again, for new connections. If it returns an error, the certificates are
// those of before.
func (c *certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.files.cert, c.files.key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.files.cert, c.files.key, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if c.files.clientCA != "" {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		if config.ClientCAs, err = readAuthorities(c.files.clientCA); err != nil {
			return err
		}
	}
	c.current.Store(config)
	return nil
}

// readAuthorities reads the certificates in a file.
func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in it", file)
	}
	return pool, nil
}

// config returns a configuration that uses the certificates of the moment.
func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil },
	}
}
