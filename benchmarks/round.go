package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// child is this program, started as a sink or a worker.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Stderr = os.Stderr
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OTEL_") && !strings.HasPrefix(v, "DD_") {
			c.cmd.Env = append(c.cmd.Env, v)
		}
	}
	c.cmd.Env = append(c.cmd.Env, "DD_INSTRUMENTATION_TELEMETRY_ENABLED=false", "DD_REMOTE_CONFIGURATION_ENABLED=false")
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewScanner(out)
	return c, c.cmd.Start()
}

// line returns the next line that c writes.
func (c *child) line() (string, error) {
	if !c.out.Scan() {
		return "", fmt.Errorf("%s ended: %w", strings.Join(c.cmd.Args[1:], " "), c.cmd.Wait())
	}
	return c.out.Text(), nil
}

func (c *child) stop() {
	c.in.Close()
	_ = c.cmd.Wait()
}

type sinkChild struct {
	*child
	url string
}

func startSink() (sinkChild, error) {
	c, err := startChild("-worker", "sink:")
	if err != nil {
		return sinkChild{}, err
	}
	url, err := c.line()
	return sinkChild{c, url}, err
}

// args returns the flags for a child with the settings of s.
func (s settings) args(worker string) []string {
	return []string{"-worker", worker, "-sink", s.Sink, "-time", s.Time.String(),
		"-cpu", fmt.Sprint(s.CPU), "-heap", fmt.Sprint(s.Heap), "-profile", s.Profile}
}

// row is a library in a case. It has a message for each round of each run.
type row struct {
	library string
	runs    [][]message
}

// measureCases runs the cases that match and returns their tables.
func measureCases(s settings, match *regexp.Regexp, r *results) (string, error) {
	for run := range s.Runs {
		for _, b := range benchmarks() {
			rows, err := measureCase(s, b, match)
			if err != nil {
				return "", err
			}
			if run == 0 {
				r.cases[b.name] = rows
				continue
			}
			for i := range rows {
				r.cases[b.name][i].runs = append(r.cases[b.name][i].runs, rows[i].runs[0])
			}
		}
	}
	var text strings.Builder
	for _, b := range benchmarks() {
		if rows := r.cases[b.name]; len(rows) > 0 {
			writeCase(&text, b, rows)
		}
	}
	return text.String(), nil
}

// measureCase is one run of a case.
func measureCase(s settings, b benchmark, match *regexp.Regexp) ([]row, error) {
	var rows []row
	var workers []*child
	defer func() {
		for _, w := range workers {
			w.stop()
		}
	}()
	if b.cpu > 0 {
		s.CPU = b.cpu
	}
	for _, name := range b.libraries {
		worker := b.name + "/" + name
		if !match.MatchString(worker) {
			continue
		}
		w, err := startChild(s.args("case:" + worker)...)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
		rows = append(rows, row{library: name, runs: make([][]message, 1)})
		if _, err := w.line(); err != nil {
			return nil, err
		}
	}
	for round := range s.Rounds {
		for i := range workers {
			at := (round + i) % len(workers)
			m, err := workers[at].round()
			if err != nil {
				return nil, err
			}
			rows[at].runs[0] = append(rows[at].runs[0], m)
		}
	}
	for _, r := range rows {
		c, _ := r.median()
		fmt.Fprintf(os.Stderr, "%-62s %-36s %9.0f ns %6.1f allocs\n", b.name, r.library, c.NS, c.Allocs)
	}
	return rows, nil
}

// round asks a worker for a round.
func (c *child) round() (m message, err error) {
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return m, err
	}
	line, err := c.line()
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal([]byte(line), &m)
}
