package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestCommands(t *testing.T) {
	for _, test := range []struct {
		args           string
		code           int
		stdout, stderr string
	}{
		{"", exitUsage, "", "Usage:"},
		{"help", exitOK, "Usage:", ""},
		{"--help", exitOK, "Usage:", ""},
		{"version", exitOK, "dendro " + dendro.Version, ""},
		{"sreve", exitUsage, "", `unknown command "sreve"`},
		{"serve -help", exitOK, "", "-memory size"},
		{"serve -colour", exitUsage, "", "-memory size"},
		{"serve now", exitUsage, "", `unexpected argument "now"`},
		{"serve -memory 1MB", exitUsage, "", "want a size such as"},
		{"serve -otlp= -otlp-grpc= -web=", exitUsage, "", "nothing to do"},
		{"serve -tls-cert c", exitUsage, "", "-tls-cert and -tls-key need each other"},
		{"serve -tls-client-ca c", exitUsage, "", "-tls-client-ca needs -tls-cert"},
		{"serve -max-connections 0", exitUsage, "", "want a number of at least 1"},
		{"serve -shutdown-timeout -1s", exitUsage, "", "want zero or more"},
		{"serve -body-timeout 0s", exitUsage, "", "want more than zero"},
		{"serve -cors-origin https://a.example,b.example", exitUsage, "", `"b.example" is no origin`},
		{"serve -cors-origin https://a.example/", exitUsage, "", `"https://a.example/" is no origin`},
		{"serve -cors-origin https://*.example", exitUsage, "", `"https://*.example" is no origin`},
		{"serve -keep-errors 720h", exitUsage, "", "-keep-errors needs -data"},
		{"serve -data x -keep-errors -1h", exitUsage, "", "want zero or more"},
		{"serve -data x -clickhouse clickhouse://host/otel", exitUsage, "", "-data and -clickhouse exclude each other"},
		{"serve -retention 720h", exitUsage, "", "-retention need -clickhouse"},
		{"serve -clickhouse-tables exporter", exitUsage, "", "-retention need -clickhouse"},
		{"serve -clickhouse clickhouse://host/otel -retention -1h", exitUsage, "", "want zero or more"},
		{"serve -clickhouse clickhouse://host/otel -clickhouse-tables none", exitUsage, "", "want dendro, exporter or existing"},
		{"serve -clickhouse clickhouse://host/otel -clickhouse-tables existing -retention 1h", exitUsage, "", "those that are there keep theirs"},
		{"serve -spool x", exitUsage, "", "-spool needs -clickhouse"},
		{"serve -data x -spool y", exitUsage, "", "-spool needs -clickhouse"},
		{"serve -clickhouse clickhouse://host/otel -spool-size 1MiB", exitUsage, "", "-spool-size needs -spool"},
		{"serve -clickhouse clickhouse://host/otel -spool x -spool-size 0", exitUsage, "", "-spool-size"},
		{"clickhouse", exitUsage, "", "want dendro clickhouse schema"},
		{"clickhouse -help", exitOK, "", "-database name"},
		{"clickhouse schema -help", exitOK, "", "-database name"},
		{"clickhouse schema now", exitUsage, "", `unexpected argument "now"`},
		{"clickhouse schema -tables existing", exitUsage, "", "nothing makes these"},
		{"clickhouse schema -retention -1h", exitUsage, "", "want zero or more"},
		{"serve -log-format xml", exitUsage, "", "want text or json"},
		{"serve -log-level loud", exitUsage, "", "unknown name"},
		{"serve -token-file nowhere", exitError, "", "nowhere"},
		{"serve -keep-rules nowhere", exitError, "", "nowhere"},
		{"serve -tls-cert nowhere -tls-key nowhere", exitError, "", "nowhere"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), &stdout, &stderr)
		testkit.Equal(t, "exit code of "+test.args, code, test.code)
		if got := stdout.String(); !strings.Contains(got, test.stdout) || got != "" && test.stdout == "" {
			t.Errorf("%s: stdout %q, want %q", test.args, got, test.stdout)
		}
		if got := stderr.String(); !strings.Contains(got, test.stderr) || got != "" && test.stderr == "" {
			t.Errorf("%s: stderr %q, want %q", test.args, got, test.stderr)
		}
	}
}
