package main

import (
	"flag"
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

// The environment of the container sets flags that there are.
func TestContainerfile(t *testing.T) {
	text, err := os.ReadFile(deploy + "Containerfile")
	testkit.NoError(t, err)
	flags := map[string]bool{}
	known, _ := newServeFlags(t.Output())
	known.VisitAll(func(f *flag.Flag) { flags[variable(f.Name)] = true })
	variables := regexp.MustCompile(`DENDRO_[A-Z_]+`).FindAllString(string(text), -1)
	testkit.Equal(t, "variables", len(variables), 5)
	for _, name := range variables {
		if !flags[name] {
			t.Errorf("%s sets no flag", name)
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
