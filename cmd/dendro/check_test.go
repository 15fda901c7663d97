package main

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// An import into a store that is too small for it says so.
func TestImportEvicts(t *testing.T) {
	random, value := rand.NewChaCha8([32]byte{}), make([]byte, 1<<20)
	var data []byte
	for n := range 132 { // 64 MiB are the least bound of a store, and as many may wait for being written
		random.Read(value)
		b := traceOf(n+1, 1)
		b.Spans[0].Attributes = []slog.Attr{slog.Any("value", value)}
		data = otlp.AppendTraces(data, b)
	}
	var stderr bytes.Buffer
	code := run(t.Context(), []string{"import", "-data", filepath.Join(t.TempDir(), "traces"), "-data-size", "1MiB", file(t, string(data))}, t.Output(), &stderr)
	testkit.Equal(t, "exit code", code, exitError)
	if !regexp.MustCompile(`dendro import: \d+ spans .* -data-size 1MiB is too small`).MatchString(stderr.String()) {
		t.Errorf("stderr %q", stderr.String())
	}
}

// What import writes into a directory, check reads and export writes again.
func TestImportCheckExport(t *testing.T) {
	dir, files := filepath.Join(t.TempDir(), "traces"), t.TempDir()
	dendro := func(code int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), args, &stdout, &stderr); got != code {
			t.Fatalf("dendro %v: exit code %d, want %d: %s%s", args, got, code, &stdout, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	line := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"scope":{},"spans":[` +
		`{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /","kind":2,"startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000001000000000","flags":257}]}]}]}` + "\n"
	in, out := filepath.Join(files, "in.json"), filepath.Join(files, "out.json")
	testkit.NoError(t, os.WriteFile(in, []byte(line), 0o600))

	dendro(exitUsage, "import", in)
	for range 2 { // the second time, they are there
		if got := dendro(exitOK, "import", "-data", dir, in); !strings.Contains(got, "1 spans accepted") {
			t.Errorf("import: %s", got)
		}
	}
	if got := dendro(exitOK, "check", dir); !strings.Contains(got, "read 1 spans") {
		t.Errorf("check: %s", got)
	}
	dendro(exitOK, "export", "-data", dir, out)
	exported, err := os.ReadFile(out)
	testkit.NoError(t, err)
	testkit.Equal(t, "lines", bytes.Count(exported, []byte("\n")), 1)
	for _, part := range []string{`"shop"`, `5b8efff798038103d269b633813fc60c`, `"GET /"`, `1700000001000000000`} {
		if !bytes.Contains(exported, []byte(part)) {
			t.Errorf("%s is not in %s", part, exported)
		}
	}

	// What is not there is not made.
	none := filepath.Join(files, "none")
	for _, args := range [][]string{{"import", "-data", none, in, in + "2"}, {"export", "-data", none, out}, {"export", "-data", files, out}, {"export", "-data", dir, "-q", "{ } | rate()", out}} {
		dendro(exitError, args...)
	}
	left, err := os.ReadDir(files)
	testkit.NoError(t, err)
	testkit.Equal(t, "files", len(left), 2)

	if got := dendro(exitUsage, "check"); strings.Contains(got, "lags") {
		t.Errorf("check has no flags: %s", got)
	}
	if got := dendro(exitError, "check", filepath.Join(files, "none")); !strings.Contains(got, "none") {
		t.Errorf("check: %s", got)
	}
}
