package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
)

// figures is what docs/transparency.md says about the runs.
type figures struct {
	page    string   // name of the file
	machine []string // lines that depend on the Go and the machine
	table   strings.Builder
	remarks strings.Builder
}

func newFigures(env environment) *figures {
	f := &figures{page: filepath.Join(env.root(), "docs", "transparency.md")}
	f.machine = []string{fmt.Sprintf("%s, %s/%s, with `-short`.\n", env.GOVERSION, env.GOOS, env.GOARCH)}
	f.table.WriteString(f.machine[0] + "\n| tests of | in between | passed | skipped |\n|---|---|--:|--:|\n")
	return f
}

// bare adds the row of a run without dendro.
func (f *figures) bare(s *suite, name string, got *results) {
	f.machine = append(f.machine, f.row(s, name, got))
}

// row adds the row of a run and returns it.
func (f *figures) row(s *suite, name string, got *results) string {
	row := fmt.Sprintf("| %s | %s | %d | %d |\n", s.path, name, got.passing(), got.skipped)
	f.table.WriteString(row)
	return row
}

// remark adds a list of the tests that differ or are left out.
func (f *figures) remark(s *suite) {
	list := func(head string, tests []named) {
		if len(tests) > 0 {
			fmt.Fprintf(&f.remarks, "\n%s\n\n", head)
		}
		for _, t := range tests {
			fmt.Fprintf(&f.remarks, "- `%s` %s.\n", t.test, t.reason)
		}
	}
	list("Left out of the tests of "+s.path+":", s.leftOut)
	for _, r := range s.runs {
		list("Fail, as they have to, with "+r.name+":", r.differ)
	}
}

func (f *figures) String() string { return "\n" + f.table.String() + f.remarks.String() + "\n" }

// begin and end enclose the figures on the page.
const begin, end = "<!-- begin gotests -->\n", "<!-- end gotests -->\n"

// read returns the figures on the page, and the text before and after them.
func (f *figures) read() (before, figures, after string, err error) {
	text, err := os.ReadFile(f.page)
	if err != nil {
		return "", "", "", err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	figures, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", "", "", fmt.Errorf("%s has no part gotests", f.page)
	}
	return before, figures, after, nil
}

func (f *figures) write() error {
	before, _, after, err := f.read()
	if err != nil {
		return err
	}
	return os.WriteFile(f.page, []byte(before+begin+f.String()+end+after), 0o644)
}

// compare returns an error if the page has different figures. If the page was written
// with another Go or on another machine, where other tests pass and are skipped, it
// compares only the remarks.
func (f *figures) compare() error {
	_, old, _, err := f.read()
	if err != nil {
		return err
	}
	same := old == f.String()
	for _, line := range f.machine {
		if !strings.Contains(old, line) {
			log.Printf("%s was written with another Go or on another machine", f.page)
			same = strings.HasSuffix(old, f.remarks.String()+"\n")
			break
		}
	}
	if !same {
		return fmt.Errorf("%s has other figures than these; run make gotests to update it\n%s", f.page, f)
	}
	return nil
}
