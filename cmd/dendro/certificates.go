package main

import (
	"cmp"
	"crypto/tls"
	"flag"
	"fmt"
	"net/http"
	"os"
)

// certificateFlags are flags for files in PEM: the certificates that a command trusts, and the one
// that it shows.
type certificateFlags struct{ authorities, certificate, key string }

// flags adds the flags. What c has is their default.
func (c *certificateFlags) flags(flags *flag.FlagSet) {
	flags.StringVar(&c.authorities, "certificate", c.authorities, "`file` with the certificates of authorities (PEM) to trust, instead of those of the system")
	flags.StringVar(&c.certificate, "client-certificate", c.certificate, "`file` with the certificate (PEM) for a server that asks for one")
	flags.StringVar(&c.key, "client-key", c.key, "`file` with the key (PEM) of -client-certificate")
}

// exporterCertificates returns the files that are named by the variables of an exporter
// (OpenTelemetry Protocol Exporter, "Configuration Options").
func exporterCertificates() certificateFlags {
	variable := func(name string) string {
		return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
	}
	return certificateFlags{variable("CERTIFICATE"), variable("CLIENT_CERTIFICATE"), variable("CLIENT_KEY")}
}

// transport reads the files, and returns a transport that keeps a number of connections open.
func (c *certificateFlags) transport(connections int) (*http.Transport, error) {
	config := &tls.Config{}
	if c.authorities != "" {
		var err error
		if config.RootCAs, err = readAuthorities(c.authorities); err != nil {
			return nil, fmt.Errorf("-certificate: %w", err)
		}
	}
	if c.certificate != "" || c.key != "" {
		if c.certificate == "" || c.key == "" {
			return nil, fmt.Errorf("-client-certificate and -client-key belong together, and one is missing")
		}
		pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
		if err != nil {
			return nil, fmt.Errorf("-client-certificate %s, -client-key %s: %w", c.certificate, c.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = config
	t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
	t.ForceAttemptHTTP2 = false // its errors do not say that the server wants another certificate
	return t, nil
}
