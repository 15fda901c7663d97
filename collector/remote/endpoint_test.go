package remote

import (
	"net/http"
	"strings"
	"testing"

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
	} {
		got, err := headerFromEnv(env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", list, "OTEL_EXPORTER_OTLP_HEADERS", ""))
		if want == nil && (err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_TRACES_HEADERS: want key=value")) {
			t.Errorf("%q: got %v, want an error that names the variable", list, err)
		}
		testkit.Equal(t, list, got, want)
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		env  []string
		want string // timeout and whether gzip is used, or the error
	}{
		{"defaults", Options{}, nil, "10s none"},
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
			got = s.timeout.String() + " none"
			if s.gzip {
				got = s.timeout.String() + " gzip"
			}
		}
		testkit.Equal(t, c.name, got, c.want)
	}
}
