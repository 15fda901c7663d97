package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/dendrotrace/dendro/collector/keep"
)

const (
	// maxRulesBytes bounds the file with rules.
	maxRulesBytes = 64 << 10
	// maxRuleName is the length of the longest name of a rule in bytes, which is a reason.
	maxRuleName = 64
)

// openHub returns the hub of the processes that keep their spans, with the rules of -keep-rules.
func openHub(o serveOptions, a *access) (*keep.Hub, error) {
	hub, err := keep.NewHub(keep.HubOptions{Limit: o.keepLimit})
	if err != nil || o.keepRules == "" {
		return hub, err
	}
	a.files = append(a.files, accessFile{"keep-rules", func() error { return loadRules(hub, o.keepRules) }})
	return hub, loadRules(hub, o.keepRules)
}

// loadRules gives the rules in a file to all processes. If one is wrong, they stay as they were.
func loadRules(hub *keep.Hub, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxRulesBytes+1))
	switch {
	case err != nil:
		return err
	case len(data) > maxRulesBytes:
		return fmt.Errorf("%s: a file with rules has at most %d bytes", name, maxRulesBytes)
	}
	rules, lines, err := parseRules(data)
	if wrong := (*lineError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s:%d: %w", name, wrong.line, wrong.err)
	}
	if err = hub.SetRules(rules); err != nil {
		if wrong := (*keep.RuleError)(nil); errors.As(err, &wrong) {
			return fmt.Errorf("%s:%d: %w", name, lines[wrong.Name], err)
		}
	}
	return err
}

// lineError is what is wrong with a line.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

var ruleLine = regexp.MustCompile(`^([^\s:]+)(?:\s+([^\s:]+))?\s*:\s*(.+)$`)

// parseRules parses lines "NAME [LIMIT/min]: TraceQL", and returns the number of the line of each name. Blank lines and
// those that start with # are skipped. It does not look at the queries.
func parseRules(data []byte) (rules []keep.Rule, lines map[string]int, err error) {
	lines = map[string]int{}
	at := 0
	fail := func(format string, args ...any) error { return &lineError{at, fmt.Errorf(format, args...)} }
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		at++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		parts := ruleLine.FindStringSubmatch(text)
		if parts == nil {
			return nil, nil, fail("want NAME: QUERY or NAME LIMIT/min: QUERY, such as slow-pay 60/min: { span.http.route = \"/pay\" && duration > 2s }")
		}
		r := keep.Rule{Name: parts[1], Query: parts[3]}
		if parts[2] != "" {
			number, ok := strings.CutSuffix(parts[2], "/min")
			if r.Limit, err = strconv.Atoi(number); !ok || err != nil || r.Limit < 1 {
				return nil, nil, fail("%q is no limit: want a number of at least 1 with /min, such as 60/min", parts[2])
			}
		}
		switch {
		case len(r.Name) > maxRuleName:
			return nil, nil, fail("a name has at most %d bytes", maxRuleName)
		case lines[r.Name] > 0:
			return nil, nil, fail("%s is the name of the rule in line %d, too", r.Name, lines[r.Name])
		case len(rules) == keep.MaxRules:
			return nil, nil, fail("there are more than %d rules: put some together with ||", keep.MaxRules)
		}
		rules, lines[r.Name] = append(rules, r), at
	}
	return rules, lines, nil
}
