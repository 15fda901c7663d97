// Gotests runs Go's own tests of net/http and database/sql with dendro in between:
// every handler is behind the middleware, every client's transport behind package
// transport, and every driver is wrapped. Each test that passes without dendro must
// pass with it.
//
// The tests are those of the Go that runs this program. They are not modified: go test
// gets, with -overlay, copies in which the expressions that make a server, a client or
// a driver are wrapped in function calls. The rules for that are in suites.go. The
// functions are in testdata, whose directories are those of GOROOT/src. If the tests
// of another Go no longer match a rule, gotests says so and fails.
//
// The figures must be those in docs/transparency.md if that was written with the same
// Go.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	write := flag.Bool("w", false, "write the figures to docs/transparency.md, instead of comparing them")
	long := flag.Bool("long", false, "run what Go leaves out with -short, too; the figures are not compared")
	race := flag.Bool("race", false, "run with the race detector; the figures are not compared")
	flag.Parse()

	args := []string{"-short", "-timeout=2m"}
	if *long {
		args = []string{"-timeout=10m"}
	}
	if *race {
		args = append(args, "-race")
	}
	figures, err := runAll(args)
	switch {
	case err != nil:
	case *write:
		err = figures.write()
	case !*long && !*race:
		err = figures.compare()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// runAll runs all suites. args are arguments for go test.
func runAll(args []string) (*figures, error) {
	dir, err := os.MkdirTemp("", "gotests")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	env, err := newEnvironment(dir, args)
	if err != nil {
		return nil, err
	}
	f := newFigures(env)
	var failed []error
	for i := range suites {
		s := &suites[i]
		bare, wrapped, err := s.overlays(env)
		if err != nil {
			return nil, err
		}
		without, err := s.run(env, bare, run{name: "nothing"}, nil)
		if err != nil {
			return nil, fmt.Errorf("%s by itself: %w", s.path, err)
		}
		f.bare(s, "nothing", without)
		for _, r := range s.runs {
			with, err := s.run(env, wrapped, r, without)
			if err != nil {
				failed = append(failed, fmt.Errorf("%s, %s: %w", s.path, r.name, err))
				continue
			}
			f.row(s, r.name, with)
		}
		f.remark(s)
	}
	return f, errors.Join(failed...)
}

// environment is the Go that runs, the directory of our module, and a directory for
// temporary files.
type environment struct {
	GOROOT, GOVERSION, GOOS, GOARCH, GOMOD, GOMODCACHE string

	dir  string
	args []string // arguments for go test
}

// newEnvironment asks the go command. It sets GOMODCACHE to a symbolic link in dir,
// because go test ignores overlays of files in the module cache. A Go that the go
// command has downloaded is in there.
func newEnvironment(dir string, args []string) (environment, error) {
	env := environment{dir: dir, args: args}
	out, err := exec.Command("go", "env", "-json").Output()
	if err != nil {
		return env, fmt.Errorf("go env: %w", err)
	}
	if err := json.Unmarshal(out, &env); err != nil {
		return env, err
	}
	link := filepath.Join(dir, "modules")
	err = os.Symlink(env.GOMODCACHE, link)
	env.GOMODCACHE = link
	return env, err
}

// root returns the directory of our module.
func (e environment) root() string { return filepath.Dir(e.GOMOD) }

// goTest returns a go test command in our module.
func (e environment) goTest(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(e.GOROOT, "bin", "go"), "test")
	cmd.Args = append(append(cmd.Args, e.args...), args...)
	cmd.Dir = e.root()
	cmd.Env = append(cmd.Environ(), "GOTOOLCHAIN=local", "GOMODCACHE="+e.GOMODCACHE, "GOWORK=off")
	return cmd
}

// overlay writes files, which maps file names to contents, and returns the argument
// that makes go test use them.
func (e environment) overlay(name string, files map[string][]byte) (arg string, err error) {
	replace := map[string]string{}
	for file, content := range files {
		replace[file] = filepath.Join(e.dir, name+"_"+filepath.Base(file))
		if err := os.WriteFile(replace[file], content, 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(e.dir, name+".json")
	return "-overlay=" + file, os.WriteFile(file, b, 0o600)
}
