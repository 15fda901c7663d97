package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

const before = `package http_test

import . "net/http"

func test() {
	c := &Client{Transport: &Transport{}}
	c.Transport.(*Transport).RoundTrip(nil)
	server.Client().Transport = c.Transport
}
`

const after = `package http_test

import . "net/http"

func test() {
	c := &Client{Transport: DendroTransport(&Transport{})}
	DendroTransport(DendroUnwrap(c.Transport).(*Transport)).RoundTrip(nil)
	DendroClient(server.Client()).Transport = DendroTransport(c.Transport)
}
`

func TestEdited(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "some_test.go")
	testkit.NoError(t, os.WriteFile(name, []byte(before), 0o600))
	var rules []rule
	for _, r := range suites[0].rules {
		if strings.Contains("DendroTransport DendroUnwrap DendroClient", r.call) {
			rules = append(rules, r)
		}
	}
	files, err := edited(dir, "net/http", rules)
	testkit.NoError(t, err)
	testkit.Equal(t, "edited", string(files[name]), after)

	testkit.NoError(t, os.WriteFile(name, []byte(strings.Replace(before, ". \"net/http\"", "\"net/http\"", 1)), 0o600))
	files, err = edited(dir, "net/http", rules)
	testkit.NoError(t, err)
	testkit.Equal(t, "qualified", string(files[name]),
		strings.NewReplacer("import . ", "import ", "Dendro", "http.Dendro").Replace(after))
}

// Tests that no longer match the rules are reported, and do not pass unchanged.
func TestNothingToEdit(t *testing.T) {
	dir := t.TempDir()
	testkit.NoError(t, os.WriteFile(filepath.Join(dir, "some_test.go"), []byte(before), 0o600))
	_, err := edited(dir, "net/http", suites[0].rules)
	if err == nil {
		t.Fatal("no error")
	}
	for _, missing := range []string{"no Server{Handler: x} in " + dir, "no m.Run() in " + dir} {
		if !strings.Contains(err.Error(), missing) {
			t.Errorf("the error does not say %q: %v", missing, err)
		}
	}
}
