package main

import (
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

const deploy = "../../deploy/"

// The example of a configuration is right, with and without what is commented out.
func TestExampleConfig(t *testing.T) {
	example, err := os.ReadFile(deploy + "dendro.conf")
	testkit.NoError(t, err)
	_, err = parseServe([]string{"-config", deploy + "dendro.conf"}, t.Output())
	testkit.NoError(t, err)
	all := regexp.MustCompile(`(?m)^#(\S)`).ReplaceAll(example, []byte("$1"))
	o, err := parseServe([]string{"-config", file(t, string(all))}, t.Output())
	testkit.NoError(t, err)
	testkit.Equal(t, "data", o.data, "/var/lib/dendro")
	testkit.Equal(t, "addresses", []string{o.otlp, o.otlpGRPC, o.web}, []string{"0.0.0.0:4318", "0.0.0.0:4317", "0.0.0.0:8700"})
}

// The environment of containers sets flags that there are.
func TestContainers(t *testing.T) {
	flags := map[string]bool{}
	known, _ := newServeFlags(t.Output())
	known.VisitAll(func(f *flag.Flag) { flags[variable(f.Name)] = true })
	for file, n := range map[string]int{"Containerfile": 5, "clickhouse/compose.yml": 4} {
		text, err := os.ReadFile(deploy + file)
		testkit.NoError(t, err)
		variables := regexp.MustCompile(`DENDRO_[A-Z_]+`).FindAllString(string(text), -1)
		testkit.Equal(t, "variables in "+file, len(variables), n)
		for _, name := range variables {
			if !flags[name] {
				t.Errorf("%s: %s sets no flag", file, name)
			}
		}
	}
}

// The commands in the documentation of ClickHouse have flags that there are, and what it says of a server sets some.
func TestClickHouseCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/clickhouse.md")
	testkit.NoError(t, err)
	commands := regexp.MustCompile(`(?m)^    dendro ([^|\n]*)`).FindAllStringSubmatch(string(text), -1)
	testkit.Equal(t, "commands", len(commands), 4)
	for _, c := range commands {
		if args := strings.Fields(c[1]); args[0] == "serve" {
			_, err = parseServe(args[1:], t.Output())
			testkit.NoError(t, err)
		} else {
			testkit.Equal(t, c[1], run(t.Context(), args, io.Discard, t.Output()), exitOK)
		}
	}
	known, _ := newServeFlags(t.Output())
	ofSchema := flag.NewFlagSet("", flag.ContinueOnError)
	new(tableOptions).flags(ofSchema, "")
	for _, m := range regexp.MustCompile("`-([a-z-]+)[` ]").FindAllStringSubmatch(string(text), -1) {
		if known.Lookup(m[1]) == nil && ofSchema.Lookup(m[1]) == nil && m[1] != "database" {
			t.Errorf("-%s is no flag", m[1])
		}
	}
}

func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not installed, so the unit is not verified")
	}
	unit, err := os.ReadFile(deploy + "dendro.service")
	testkit.NoError(t, err)
	self, err := os.Executable()
	testkit.NoError(t, err)
	name := filepath.Join(t.TempDir(), "dendro.service")
	testkit.NoError(t, os.WriteFile(name, []byte(strings.ReplaceAll(string(unit), "/usr/local/bin/dendro", self)), 0o600))
	out, err := exec.Command(analyze, "verify", "--man=no", name).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
