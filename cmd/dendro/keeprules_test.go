package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestLoadRules(t *testing.T) {
	hub, err := keep.NewHub(keep.HubOptions{})
	testkit.NoError(t, err)
	name := filepath.Join(t.TempDir(), "rules")
	write := func(text string) error {
		testkit.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return loadRules(hub, name)
	}
	testkit.NoError(t, write("\ufeff# of the shop\n\nkeep: { span.http.route = \"/pay\" && duration > 2s }\r\n  slow-pay 7/min : { name = \"a: b\" }"))
	want := []keep.Rule{
		{Name: "keep", Query: `{ span.http.route = "/pay" && duration > 2s }`},
		{Name: "slow-pay", Query: `{ name = "a: b" }`, Limit: 7},
	}
	testkit.Equal(t, "rules", hub.Stats().Rules, want)
	for text, problem := range map[string]string{
		"# ok\n{ duration > 2s }":            ":2: want NAME: QUERY",
		"keep:":                              ":1: want NAME: QUERY",
		"very slow pay: { }":                 ":1: want NAME: QUERY",
		"pay 7: { }":                         `:1: "7" is no limit: want a number of at least 1 with /min`,
		"pay 0/min: { }":                     `:1: "0/min" is no limit`,
		"pay 1e3/min: { }":                   `:1: "1e3/min" is no limit`,
		"a: { }\nb: { duration > }":          ":2: rule b: 1:14: expected",
		"a: { } | rate()":                    ":1: rule a: ",
		"a: { }\n# no\na: { }":               ":3: a is the name of the rule in line 1, too",
		strings.Repeat("a", 65) + ": { }":    ":1: a name has at most 64 bytes",
		strings.Repeat("a", 64<<10) + ": {}": ": a file with rules has at most 65536 bytes",
		manyRules(65):                        ":65: there are more than 64 rules",
	} {
		err := write(text)
		if err == nil || !strings.Contains(err.Error(), name+problem) {
			t.Errorf("%.40q: %v, want %q", text, err, problem)
		}
	}
	testkit.Equal(t, "rules after files with errors", hub.Stats().Rules, want)
	testkit.NoError(t, write(""))
	testkit.Equal(t, "rules of an empty file", len(hub.Stats().Rules), 0)
	testkit.NoError(t, write(manyRules(64)))
}

func manyRules(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("r" + strings.Repeat("x", i%8) + string(rune('a'+i/8)) + ": { }\n")
	}
	return b.String()
}

// FuzzRules: rules have a name and a query, and an error has the number of a line.
func FuzzRules(f *testing.F) {
	for _, seed := range []string{"keep: { duration > 2s }", "a 60/min: { }\n#\nb: { .x = 1 }", "a", "a 1/min 2/min: {}", ":", "a:\x00", "\ufeffa: b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, lines, err := parseRules([]byte(text))
		if err != nil {
			wrong, ok := err.(*lineError) //nolint:errorlint // never wrapped
			if !ok || wrong.line < 1 || wrong.line > strings.Count(text, "\n")+1 {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, r := range rules {
			if r.Name == "" || len(r.Name) > maxRuleName || r.Query == "" || strings.Contains(r.Query, "\n") || lines[r.Name] < 1 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
