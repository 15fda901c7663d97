package dendrotest

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var update = flag.Bool("dendrotest.update", false, "write the golden files that dendrotest compares with")

// updating reports whether the flag is set, or a flag -update that the program of the tests
// defines.
func updating() bool {
	if *update {
		return true
	}
	f := flag.Lookup("update")
	if f == nil {
		return false
	}
	g, ok := f.Value.(flag.Getter)
	if !ok {
		return false
	}
	set, _ := g.Get().(bool)
	return set
}

// Golden fails the test unless [Recorder.Tree], with the attributes of the given keys, is the
// content of a file. With the flag -dendrotest.update it writes the file. So it does with
// -update, if the tests of the package define that flag as a boolean; dendrotest does not, as
// it would collide with theirs.
func (r *Recorder) Golden(file string, keys ...string) {
	r.t.Helper()
	t := r.tree(keys...)
	if t == nil {
		return
	}
	lines := t.lines()
	got := text(lines)
	if updating() {
		err := os.MkdirAll(filepath.Dir(file), 0o777)
		if err == nil {
			err = os.WriteFile(file, []byte(got), 0o666)
		}
		if err != nil {
			r.t.Errorf("dendrotest: %v", err)
		}
		return
	}
	const hint = "\nTo accept the tree: go test -run '^%s$' -dendrotest.update"
	content, err := os.ReadFile(file)
	run := strings.ReplaceAll(regexp.QuoteMeta(r.t.Name()), "/", "$/^")
	if err != nil {
		r.t.Errorf("dendrotest: %v\n%s"+hint, err, got, run)
		return
	}
	want := strings.ReplaceAll(string(content), "\r\n", "\n")
	if got != want {
		r.t.Errorf("the tree is not that of %s (- file, + test):%s"+hint, file, difference(want, lines), run)
	}
}

// maxCompared bounds the lines of each side that difference compares, from the first that
// differs.
const maxCompared = 1000

// difference returns the lines of a tree, marked with + if want does not have them, and the
// lines of want that it does not have, marked with -.
func difference(want string, got []line) string {
	var b strings.Builder
	old := strings.Split(strings.TrimSuffix(want, "\n"), "\n")
	for len(old) > 0 && len(got) > 0 && old[0] == got[0].text {
		b.WriteString("\n  " + old[0])
		old, got = old[1:], got[1:]
	}
	cut := max(len(old), len(got)) > maxCompared
	old, got = old[:min(len(old), maxCompared)], got[:min(len(got), maxCompared)]
	// common[i][j] is the length of the longest common subsequence of old[i:] and got[j:].
	common := make([][]int, len(old)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i, text := range slices.Backward(old) {
		for j, l := range slices.Backward(got) {
			if text == l.text {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(old) || j < len(got); {
		switch {
		case i < len(old) && j < len(got) && old[i] == got[j].text:
			b.WriteString("\n  " + old[i])
			i, j = i+1, j+1
		case j == len(got) || i < len(old) && common[i+1][j] >= common[i][j+1]:
			b.WriteString("\n- " + old[i])
			i++
		default:
			b.WriteString("\n+ " + got[j].text + places(got[j].nodes, "  "+got[j].indent()))
			j++
		}
	}
	if cut {
		b.WriteString("\n  …")
	}
	return b.String()
}
