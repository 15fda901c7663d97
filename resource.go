package dendro

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Version is the version of this module. It is reported as telemetry.sdk.version and
// as the version of the scope.
const Version = "0.1.0-dev"

const modulePath = "github.com/dendrotrace/dendro"

// newResource describes this process. Values given in code take precedence over
// OTEL_SERVICE_NAME, which takes precedence over OTEL_RESOURCE_ATTRIBUTES.
func newResource(service string, attrs []slog.Attr, getenv func(string) string) (*Resource, error) {
	var set attrSet
	set.put(slog.String("service.name", "unknown_service:"+filepath.Base(os.Args[0])))
	set.put(slog.String("telemetry.sdk.name", "dendro"))
	set.put(slog.String("telemetry.sdk.language", "go"))
	set.put(slog.String("telemetry.sdk.version", Version))
	set.put(slog.String("process.runtime.version", runtime.Version()))
	set.put(slog.Int("process.pid", os.Getpid()))
	if host, err := os.Hostname(); err == nil {
		set.put(slog.String("host.name", host))
	}
	env, err := parseResourceAttributes(getenv("OTEL_RESOURCE_ATTRIBUTES"))
	set.putAll(flatten(env).attrs)
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		set.put(slog.String("service.name", name))
	}
	set.putAll(flatten(attrs).attrs)
	if service != "" {
		set.put(slog.String("service.name", service))
	}
	return &Resource{Attributes: set.attrs}, err
}

// parseResourceAttributes parses key=value pairs that are separated by commas and have
// percent-encoded values (OpenTelemetry, Resource SDK, "Specifying resource
// information via an environment variable"). If there is any error, it discards the
// whole value.
func parseResourceAttributes(s string) ([]slog.Attr, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var attrs []slog.Attr
	for pair := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || err != nil {
			return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: ignored, because %q is not key=value with a percent-encoded value", pair)
		}
		attrs = append(attrs, slog.String(key, value))
	}
	return attrs, nil
}
