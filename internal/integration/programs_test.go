package integration

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// buildProgram builds the program in dir with flags of "go build", and returns its path.
func buildProgram(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(dir)+".exe")
	build := exec.Command("go", append([]string{"build", "-o", program}, flags...)...)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// running is a program that runs until it is stopped or killed, or the test ends.
type running struct {
	*exec.Cmd
	out   io.Reader // its standard output
	lines *bufio.Scanner
	ended bool
}

// startProgram starts a program with more variables in its environment.
func startProgram(t *testing.T, env []string, program string, args ...string) *running {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	testkit.NoError(t, err)
	testkit.NoError(t, cmd.Start())
	r := &running{Cmd: cmd, out: out, lines: bufio.NewScanner(out)}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// find returns what is in the parentheses of pattern in the next line of the output that matches.
func (r *running) find(t *testing.T, pattern string) string {
	t.Helper()
	for r.lines.Scan() {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(r.lines.Text()); m != nil {
			return m[1]
		}
	}
	t.Fatalf("%v: no %q in the output: %v", r, pattern, r.lines.Err())
	return ""
}

// stop interrupts the program, unless it has ended, and waits until it has.
func (r *running) stop(t *testing.T) {
	if r.ended {
		return
	}
	r.ended = true
	testkit.NoError(t, r.Process.Signal(os.Interrupt))
	late := time.AfterFunc(20*time.Second, func() { _ = r.Process.Kill() })
	defer late.Stop()
	_, _ = io.Copy(io.Discard, r.out)
	if err := r.Wait(); err != nil {
		t.Errorf("%v: %v", r, err)
	}
}

// kill ends the program without giving it a chance.
func (r *running) kill(t *testing.T) {
	r.ended = true
	testkit.NoError(t, r.Process.Kill())
	_ = r.Wait() // it was killed
}

// serving is a "dendro serve".
type serving struct {
	*running
	otlp, web string // URLs, without a slash at the end
}

// startServing starts "dendro serve" with free ports.
func startServing(t *testing.T, program string, args ...string) *serving {
	t.Helper()
	r := startProgram(t, nil, program, append([]string{"serve", "-otlp", "127.0.0.1:0", "-otlp-grpc", "", "-web", "127.0.0.1:0"}, args...)...)
	return &serving{r, r.find(t, `(http://\S+)/v1/traces`), r.find(t, `(http://\S+)/`)}
}
