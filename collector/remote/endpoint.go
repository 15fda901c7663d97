package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	defaultEndpoint = "http://localhost:4318"
	tracesPath      = "/v1/traces"
)

// fromEnv reads a variable of the OTLP exporter specification: the one for traces or,
// if that is not set, the one for all signals.
func fromEnv(getenv func(string) string, name string) (value, variable string) {
	for _, prefix := range []string{"OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"} {
		variable = prefix + name
		if value = strings.TrimSpace(getenv(variable)); value != "" {
			return value, variable
		}
	}
	return "", ""
}

// resolveEndpoint returns the URL of requests, as documented by [Dial].
func resolveEndpoint(endpoint string, getenv func(string) string) (string, error) {
	variable := ""
	if endpoint == "" {
		if endpoint, variable = fromEnv(getenv, "ENDPOINT"); endpoint == "" {
			endpoint = defaultEndpoint
		}
	}
	u, err := parseEndpoint(endpoint)
	if err != nil {
		if variable != "" {
			err = fmt.Errorf("%s: %w", variable, err)
		}
		return "", err
	}
	if variable != "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" && !strings.HasSuffix(u.Path, tracesPath) {
		u = u.JoinPath(tracesPath)
	}
	return u.String(), nil
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	if !strings.Contains(endpoint, "://") {
		return nil, fmt.Errorf("endpoint %q has no scheme: write http://%s, or https:// for TLS", endpoint, endpoint)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		var parse *url.Error // its message contains the URL with its password
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("endpoint is not a URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("endpoint %q: unsupported scheme %s: want http or https, usually with port 4318", u.Redacted(), u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("endpoint %q has credentials: put them into Options.Header as Authorization", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("endpoint %q has no host", endpoint)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %q: must not have a query or a fragment", endpoint)
	}
	return u, nil
}

// resolveTimeout returns [Options.Timeout] or its default.
func resolveTimeout(given time.Duration, getenv func(string) string) (time.Duration, error) {
	text, variable := fromEnv(getenv, "TIMEOUT")
	if given > 0 || text == "" {
		return positive(given, defaultTimeout), nil
	}
	ms, err := strconv.ParseUint(text, 10, 31)
	if err != nil || ms == 0 {
		return 0, fmt.Errorf("%s: %q: want milliseconds", variable, text)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// resolveCompression returns [Options.Compression] or its default.
func resolveCompression(given string, getenv func(string) string) (string, error) {
	source := "Options.Compression"
	if given == "" {
		given, source = fromEnv(getenv, "COMPRESSION")
	}
	switch given {
	case "", "none", "gzip":
		return given, nil
	}
	return "", fmt.Errorf("%s: %q is unknown: want gzip or none", source, given)
}

// checkProtocol returns an error if the environment asks for another protocol than
// http/protobuf.
func checkProtocol(getenv func(string) string) error {
	protocol, variable := fromEnv(getenv, "PROTOCOL")
	switch protocol {
	case "", "http/protobuf":
		return nil
	case "grpc":
		return fmt.Errorf("%s: grpc is not supported: set it to http/protobuf, and the endpoint to the port for HTTP, usually 4318 instead of 4317", variable)
	}
	return fmt.Errorf("%s: %q is not supported: set it to http/protobuf", variable, protocol)
}

// tlsFromEnv returns a configuration with the certificates that the environment names. It
// returns nil if there are none, or if url needs none.
func tlsFromEnv(url string, getenv func(string) string) (*tls.Config, error) {
	if !strings.HasPrefix(url, "https:") {
		return nil, nil
	}
	authorities, authoritiesVar := fromEnv(getenv, "CERTIFICATE")
	cert, certVar := fromEnv(getenv, "CLIENT_CERTIFICATE")
	key, keyVar := fromEnv(getenv, "CLIENT_KEY")
	if authorities+cert+key == "" {
		return nil, nil
	}
	config := &tls.Config{}
	if authorities != "" {
		pem, err := os.ReadFile(authorities)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", authoritiesVar, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s has no certificate in PEM", authoritiesVar, authorities)
		}
	}
	switch {
	case cert == "" && key == "":
		return config, nil
	case key == "":
		return nil, fmt.Errorf("%s is set: set OTEL_EXPORTER_OTLP_CLIENT_KEY, too", certVar)
	case cert == "":
		return nil, fmt.Errorf("%s is set: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE, too", keyVar)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certVar, keyVar, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// headerFromEnv parses OTEL_EXPORTER_OTLP_HEADERS. Its errors do not contain values,
// which may be secret.
func headerFromEnv(getenv func(string) string) (http.Header, error) {
	list, variable := fromEnv(getenv, "HEADERS")
	header := http.Header{}
	for pair := range strings.SplitSeq(list, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !validHeader(key, value) {
			return nil, fmt.Errorf("%s: want key=value pairs, separated by commas, with percent-encoded values", variable)
		}
		header.Add(key, value)
	}
	return header, nil
}

// validHeader reports whether a header is valid by RFC 9110, section 5. Without this
// check, net/http would refuse every request, and the collector would seem to be
// unreachable.
func validHeader(key, value string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return key != ""
}
