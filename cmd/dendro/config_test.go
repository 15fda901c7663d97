package main

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// The command line counts before the environment, and that before the file.
func TestPrecedence(t *testing.T) {
	name := file(t, "\ufeff"+`# addresses
otlp = 127.0.0.1:1
otlp-grpc=
  web	=  127.0.0.1:1
memory = 64MiB
shutdown-timeout = 1m
log-level = warn
`)
	t.Setenv("DENDRO_CONFIG", name)
	t.Setenv("DENDRO_WEB", "127.0.0.1:2")
	t.Setenv("DENDRO_MEMORY", "128MiB")
	t.Setenv("DENDRO_SHUTDOWN_TIMEOUT", "2m")
	t.Setenv("DENDRO_LOG_LEVEL", "") // as if it were not set
	o, err := parseServe([]string{"-memory", "256MiB", "-otlp=", "-cors-origin", "https://a.example, http://localhost:8080,"}, t.Output())
	testkit.NoError(t, err)
	want, err := parseServe(nil, t.Output())
	testkit.NoError(t, err)
	want.otlp, want.otlpGRPC, want.web = "", "", "127.0.0.1:2"
	want.memory, want.shutdownTimeout, want.logLevel = 256<<20, 2*time.Minute, slog.LevelWarn
	want.receive.MaxInFlightBytes = 32 << 20 // an eighth of the memory
	want.receive.AllowedOrigins = []string{"https://a.example", "http://localhost:8080"}
	testkit.Equal(t, "options", o, want)

	// The flag -config counts before its variable, too.
	o, err = parseServe([]string{"-config", file(t, "otlp = 127.0.0.1:9")}, t.Output())
	testkit.NoError(t, err)
	testkit.Equal(t, "address", o.otlp, "127.0.0.1:9")
}

// Everything that is wrong is named, with where it is.
func TestConfigErrors(t *testing.T) {
	name := file(t, "otlp = 127.0.0.1:1\notpl = 127.0.0.1:1\n\nmemory\nmemory = much\notlp = :2\nconfig = other\nmax-connections = 0x\ndata = \"/var/lib/dendro\"\n")
	t.Setenv("DENDRO_MEMORY", "little")
	t.Setenv("DENDRO_DATA_SIZE", "'1GiB'") // of a file for a container
	var stderr bytes.Buffer
	_, err := parseServe([]string{"-config", name}, &stderr)
	for _, want := range []string{
		name + `:2: there is no flag "otpl" to set`,
		name + ":4: want flag = value",
		name + ":5: memory: want a size such as",
		name + ":6: otlp is set in line 1, too",
		name + `:7: there is no flag "config" to set`,
		name + ":8: max-connections: ",
		name + ":9: data: the quotes would be part of the value",
		"DENDRO_DATA_SIZE: the quotes would be part of the value",
		"DENDRO_MEMORY: want a size such as",
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(stderr.String(), "dendro serve: "+want) {
			t.Errorf("%q is not in %v; stderr %q", want, err, stderr.String())
		}
	}
	if _, err := parseServe([]string{"-config", "nowhere"}, t.Output()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := parseServe([]string{"-config", file(t, strings.Repeat("#\n", maxConfigBytes/2+1))}, t.Output()); err == nil || !strings.Contains(err.Error(), "at most 1048576 bytes") {
		t.Errorf("a large file: %v", err)
	}
	testkit.Equal(t, "exit code", run(t.Context(), []string{"serve", "-config", name}, t.Output(), t.Output()), exitUsage)
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("otlp = 127.0.0.1:1\n# x\n\nmemory=1GiB\r\n"))
	f.Add([]byte("=\n=\x00=\notlp"))
	f.Add([]byte("\ufeffotlp = \"\"\nmemory = '"))
	f.Fuzz(func(t *testing.T, data []byte) {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		var size byteSize
		flags.String("otlp", "", "")
		flags.Var(&size, "memory", "")
		for at, err := range setAll(flags, data) {
			if at < 1 || at > 1+bytes.Count(data, []byte("\n")) || err == nil {
				t.Errorf("line %d: %v", at, err)
			}
		}
	})
}
