package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// overlays returns the arguments that make go test run the tests without and with
// dendro. With either of them, the default of GODEBUG is that of the Go that runs, and
// not that of our go.mod.
func (s *suite) overlays(env environment) (bare, wrapped string, err error) {
	mod, err := os.ReadFile(env.GOMOD)
	if err != nil {
		return "", "", err
	}
	mod = fmt.Appendf(mod, "\ngodebug default=%s\n", regexp.MustCompile(`go1\.\d+`).FindString(env.GOVERSION))
	src := filepath.Join(env.GOROOT, "src", filepath.FromSlash(s.path))
	files, err := edited(src, s.path, s.rules)
	if err != nil {
		return "", "", err
	}
	files[env.GOMOD] = mod
	ours := filepath.Join(env.root(), "internal", "gotests", "testdata", filepath.FromSlash(s.path))
	entries, err := os.ReadDir(ours)
	if err != nil {
		return "", "", err
	}
	for _, entry := range entries {
		if files[filepath.Join(src, entry.Name())], err = os.ReadFile(filepath.Join(ours, entry.Name())); err != nil {
			return "", "", err
		}
	}
	name := strings.ReplaceAll(s.path, "/", "_")
	bare, err = env.overlay(name+"_bare", map[string][]byte{env.GOMOD: mod})
	if err != nil {
		return "", "", err
	}
	wrapped, err = env.overlay(name, files)
	return bare, wrapped, err
}

// run runs the suite. It returns an error if a test fails that passes in without. If
// without is nil, this is the run without dendro.
func (s *suite) run(env environment, overlay string, r run, without *results) (*results, error) {
	began := time.Now()
	got, err := s.test(env, overlay, r)
	if err != nil {
		return nil, err
	}
	log.Printf("%s, %s: %d passed, %d skipped, spans of servers %d, of clients %d (%.0fs)",
		s.path, r.name, got.passing(), got.skipped, got.server, got.client, time.Since(began).Seconds())
	var failing []string
	if without == nil {
		failing = slices.Sorted(maps.Keys(got.failed))
	} else {
		for _, test := range slices.Sorted(maps.Keys(without.passed)) {
			if without.passes(test) && !got.passes(test) && !has(r.differ, test) {
				failing = append(failing, test)
			}
		}
	}
	var failed []error
	switch {
	case len(failing) > maxAgain:
		failed = append(failed, fmt.Errorf("%d tests failed or did not run", len(failing)))
		failing = slices.Sorted(maps.Keys(got.failed))
	case len(failing) > 0:
		if failing, err = s.again(env, overlay, r, failing, got); err != nil {
			return nil, err
		}
	}
	for _, test := range failing {
		failed = append(failed, fmt.Errorf("%s does not pass:\n%s", test, tail(got.output[test])))
	}
	for _, t := range r.differ {
		if got.failed[t.test] == 0 {
			failed = append(failed, fmt.Errorf("%s passes, though it %s", t.test, t.reason))
		}
	}
	if r.server && got.server == 0 || r.client && got.client == 0 {
		failed = append(failed, fmt.Errorf("%d server spans and %d client spans: something was not traced", got.server, got.client))
	}
	return got, errors.Join(failed...)
}

// maxAgain bounds how many failed tests are run again. If there are more, something
// else is wrong.
const maxAgain = 20

// again runs everything twice more for tests that should have passed, because some of
// Go's tests are flaky. They must pass both times. again corrects got and returns the
// tests that fail.
func (s *suite) again(env environment, overlay string, r run, tests []string, got *results) (failing []string, err error) {
	passed := map[string]int{}
	for range 2 {
		more, err := s.test(env, overlay, r)
		if err != nil {
			return nil, err
		}
		for _, test := range tests {
			passed[test] += more.passed[test]
		}
	}
	for _, test := range tests {
		if passed[test] < 2 {
			failing = append(failing, test)
			continue
		}
		log.Printf("  %s failed at first, then passed twice", test)
		got.passed[test], got.failed[test] = 1, 0
	}
	return failing, nil
}

// results are the results of go test. A subtest is named with its parents: "TestA/h1".
type results struct {
	passed, failed map[string]int // number of times
	skipped        int
	output         map[string]string // by test; "" is the package
	server, client int               // number of spans of each kind
}

// passes reports whether the test passed and never failed.
func (r *results) passes(test string) bool { return r.passed[test] > 0 && r.failed[test] == 0 }

func (r *results) passing() (n int) {
	for test := range r.passed {
		if r.passes(test) {
			n++
		}
	}
	return n
}

// test runs go test without the tests that are left out.
func (s *suite) test(env environment, overlay string, r run) (*results, error) {
	cmd := env.goTest("-json", "-vet=off", "-count=1", overlay)
	if len(s.leftOut) > 0 {
		cmd.Args = append(cmd.Args, "-skip="+strings.Join(names(s.leftOut), "|"))
	}
	cmd.Args = append(cmd.Args, s.path)
	cmd.Env = append(cmd.Env, r.env...)
	cmd.Stderr = os.Stderr
	out, runErr := cmd.Output() // fails if a test fails
	got := &results{passed: map[string]int{}, failed: map[string]int{}, output: map[string]string{}}
	running := map[string]bool{}
	for events := json.NewDecoder(bytes.NewReader(out)); ; {
		var e struct{ Action, Test, Output string }
		if err := events.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("output of go test: %w", err)
		}
		got.output[e.Test] += e.Output
		_, _ = fmt.Sscanf(e.Output, "dendro spans: server %d client %d", &got.server, &got.client)
		switch {
		case e.Test == "":
		case e.Action == "run":
			running[e.Test] = true
		case e.Action == "pass":
			got.passed[e.Test]++
			delete(running, e.Test)
		case e.Action == "fail":
			got.failed[e.Test]++
			delete(running, e.Test)
		case e.Action == "skip":
			got.skipped++
			delete(running, e.Test)
		}
	}
	for test := range running { // a panic in one test ends all of them
		got.failed[test]++
	}
	if runErr != nil && len(got.failed) == 0 {
		return nil, fmt.Errorf("go test: %w\n%s", runErr, tail(got.output[""]))
	}
	return got, nil
}

// has reports whether list contains the test or one of its parents.
func has(list []named, test string) bool {
	top, _, _ := strings.Cut(test, "/")
	return slices.Contains(names(list), top)
}

func names(list []named) (tests []string) {
	for _, t := range list {
		tests = append(tests, t.test)
	}
	return tests
}

// tail returns the end of output.
func tail(output string) string { return output[max(0, len(output)-4000):] }
