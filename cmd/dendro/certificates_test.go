package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// With their certificates, the commands reach a server that asks for some.
func TestClientCertificates(t *testing.T) {
	testkit.NoLeaks(t)
	t.Setenv(tokenVariable, "")
	ca, dir := newAuthority(t), t.TempDir()
	authorities := filepath.Join(dir, "ca.pem")
	writePEM(t, authorities, "CERTIFICATE", ca.cert.Raw)
	cert, key := ca.issue(dir, "server")
	s := start(t, "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", authorities)
	ours := t.TempDir()
	cert, key = ca.issue(ours, "client")
	_, otherKey := ca.issue(t.TempDir(), "other")
	traces := file(t, string(otlp.AppendTracesJSON(nil, traceOf(1, 3))))

	const all = " -certificate CA -client-certificate CERT -client-key KEY"
	send, load, page := "send -otlp "+s.otlp, "load -spans 600 -verify -freshness -addr "+s.web+" -otlp "+s.otlp, " -addr "+s.web
	const variables = "CERTIFICATE=CA CLIENT_CERTIFICATE=CERT CLIENT_KEY=KEY"
	for _, test := range []struct {
		args, operand, env string
		code               int
		stderr             string
	}{
		{send + all, traces, "", exitOK, ""},
		{send, traces, variables, exitOK, ""},
		{load + all, "", "", exitOK, ""},
		{load, "", variables, exitOK, ""},
		{load, "", "", exitError, "certificate signed by unknown authority"},
		{"query -limit 1000" + all + page, "{ }", "", exitOK, ""},
		{"metrics" + all + page, "{ } | rate()", "", exitOK, ""},
		{"trace" + all + page, "1", "", exitOK, ""},
		{"export" + all + page, filepath.Join(dir, "out"), "", exitOK, " lines exported"},
		{"tail" + all + page, "{", "", exitError, "q: 1:2"},
		{"query" + page, "{ }", variables, exitError, "certificate signed by unknown authority"},
		{"query -certificate CA" + page, "{ }", "", exitError, "certificate required"},
		{"query -certificate CA -client-certificate CERT" + page, "{ }", "", exitError, "-client-certificate and -client-key belong together"},
		{"query -certificate nowhere" + page, "{ }", "", exitError, "-certificate: open nowhere"},
		{send + " -certificate KEY", traces, "", exitError, "-certificate: KEY: there is no certificate in it"},
		{"export -client-certificate CERT -client-key OTHER" + page, "", "", exitError, "-client-certificate CERT, -client-key OTHER: tls: private key does not match"},
	} {
		t.Run(test.args+" "+test.env, func(t *testing.T) {
			paths := strings.NewReplacer("CA", authorities, "CERT", cert, "KEY", key, "OTHER", otherKey)
			for variable := range strings.FieldsSeq(test.env) {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv("OTEL_EXPORTER_OTLP_"+name, paths.Replace(value))
			}
			var args []string
			for arg := range strings.FieldsSeq(test.args) {
				args = append(args, paths.Replace(arg))
			}
			if test.operand != "" {
				args = append(args, test.operand)
			}
			var stderr bytes.Buffer
			code := run(t.Context(), args, t.Output(), &stderr)
			testkit.Equal(t, "exit code", code, test.code)
			if got, want := stderr.String(), paths.Replace(test.stderr); !strings.Contains(got, want) || got != "" && want == "" {
				t.Errorf("stderr %q, want %q", got, want)
			}
		})
	}
	s.stop()
}
