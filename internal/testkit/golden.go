package testkit

import (
	"flag"
	"os"
	"testing"
)

// Update is the flag -update, with which tests write the files that they compare with.
var Update = flag.Bool("update", false, "write the golden files")

// Golden fails the test unless got is the content of a file. With -update it writes the file.
func Golden(t testing.TB, file, got string) {
	t.Helper()
	if *Update {
		NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	NoError(t, err)
	Equal(t, file, got, string(want))
}
