package main

import (
	"context"
	"database/sql/driver"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	"github.com/ngrok/sqlmw"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/sqltransparency"
	"github.com/dendrotrace/dendro/sqldriver"
)

var transparencyFile = flag.String("transparency", "", "put the tables into this Markdown `file`, between its comments")

// sequences is the number of random sequences of calls for each library.
const sequences = 6000

// sqlWrappers are the libraries that are tested. Each call is below a span of its
// library, as in a request.
func sqlWrappers() []sqltransparency.Library {
	tracer := dendro.New(dendro.Options{Service: "transparency", Sampler: dendro.AlwaysSample})
	provider := sdktrace.NewTracerProvider()
	return []sqltransparency.Library{
		{
			Name: "github.com/dendrotrace/dendro",
			Wrap: func(d driver.Driver) driver.Driver { return sqldriver.WrapDriver(d, sqldriver.Options{}) },
			Context: func(ctx context.Context) context.Context {
				ctx, span := tracer.Start(ctx, "request")
				span.End()
				return ctx
			},
		},
		{
			Name: "github.com/XSAM/otelsql",
			Wrap: func(d driver.Driver) driver.Driver {
				return otelsql.WrapDriver(d, otelsql.WithTracerProvider(provider))
			},
			Context: func(ctx context.Context) context.Context {
				ctx, span := provider.Tracer("transparency").Start(ctx, "request")
				span.End()
				return ctx
			},
		},
		{
			Name: "github.com/ngrok/sqlmw",
			Wrap: func(d driver.Driver) driver.Driver { return sqlmw.Driver(d, sqlmw.NullInterceptor{}) },
		},
	}
}

// changed counts what a library did to a kind of values.
type changed struct{ all, differ int }

// difference is a sequence in which the driver or the caller saw something different.
type difference struct{ driver, bare, wrapped string }

// TestSQLTransparency compares drivers with the same drivers wrapped by the libraries.
// It fails if dendro makes a difference, and only reports the differences of others.
func TestSQLTransparency(t *testing.T) {
	var names []string
	kinds := []string{"Conn", "old Conn", "Stmt", "old Stmt", "Rows", "Connector"}
	combinations := map[string]map[string]*changed{} // by library and kind
	lost, added := map[string]map[string]int{}, map[string]map[string]int{}
	calls := map[string]*[2]changed{} // of a driver without errors, and of all
	examples := map[string][]difference{}
	for _, l := range sqlWrappers() {
		names = append(names, l.Name)
		combinations[l.Name], lost[l.Name], added[l.Name] = map[string]*changed{}, map[string]int{}, map[string]int{}
		found, err := sqltransparency.Combinations(l)
		if err != nil {
			t.Fatalf("%s: %v", l.Name, err)
		}
		for _, c := range found {
			n := combinations[l.Name][c.Kind]
			if n == nil {
				n = &changed{}
				combinations[l.Name][c.Kind] = n
			}
			if n.all++; c.Differs() {
				n.differ++
			}
			value := c.Kind[strings.LastIndex(c.Kind, " ")+1:]
			for _, i := range c.Lost {
				lost[l.Name][value+": "+i]++
			}
			for _, i := range c.Added {
				added[l.Name][value+": "+i]++
			}
		}
		calls[l.Name] = &[2]changed{}
		for seed := range uint64(sequences) {
			data := sqltransparency.Random(seed)
			bare := sqltransparency.Run(t, sqltransparency.Library{}, data)
			a, b := sqltransparency.Difference(bare, sqltransparency.Run(t, l, data))
			for i := range calls[l.Name] {
				if i == 0 && !strings.HasSuffix(bare[0], sqltransparency.WithoutErrors) {
					continue
				}
				n := &calls[l.Name][i]
				if n.all++; a != b {
					n.differ++
				}
			}
			if a != b {
				examples[l.Name] = append(examples[l.Name], difference{bare[0], a, b})
			}
		}
	}
	var b strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	write("| values of a driver | combinations |")
	for _, l := range names {
		write(" %s |", l)
	}
	write("\n|---|--:|%s\n", strings.Repeat("--:|", len(names)))
	for _, k := range kinds {
		write("| %s | %d |", k, combinations[names[0]][k].all)
		for _, l := range names {
			write(" %d differ |", combinations[l][k].differ)
		}
		write("\n")
	}
	for i, k := range []string{"sequences, driver without errors", "sequences, all"} {
		write("| %s | %d |", k, calls[names[0]][i].all)
		for _, l := range names {
			write(" %d differ |", calls[l][i].differ)
		}
		write("\n")
	}
	for _, l := range names {
		if len(lost[l])+len(added[l])+len(examples[l]) == 0 {
			continue
		}
		write("\n`%s` %s:\n\n", l, versionOf(t, l))
		list := func(what string, of map[string]int) {
			var out []string
			for i, n := range of {
				out = append(out, fmt.Sprintf("%s (%d)", i, n))
			}
			if slices.Sort(out); len(out) > 0 {
				write("- %s: %s.\n", what, strings.Join(out, ", "))
			}
		}
		list("Interfaces that are lost, and in how many combinations", lost[l])
		list("Interfaces that the driver has not", added[l])
		for _, e := range shortest(examples[l]) {
			write("- For example, of %s:\n\n  ```\n  bare:    %s\n  wrapped: %s\n  ```\n", e.driver, indent(e.bare), indent(e.wrapped))
		}
	}
	t.Log("\n" + b.String())
	dendro := names[0]
	if len(lost[dendro])+len(added[dendro])+len(examples[dendro]) > 0 {
		t.Error("dendro is not transparent")
	}
	if *transparencyFile != "" {
		if err := replacePart(*transparencyFile, "sql", b.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// shortest returns three short examples of different calls, if possible of drivers
// without errors.
func shortest(all []difference) []difference {
	length := func(d difference) int {
		n := len(d.bare) + len(d.wrapped)
		if !strings.HasSuffix(d.driver, sqltransparency.WithoutErrors) {
			n += 1000
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b difference) int { return length(a) - length(b) })
	var out []difference
	seen := map[string]bool{}
	for _, d := range all {
		call, _, _ := strings.Cut(d.bare, " ")
		if call, _, _ = strings.Cut(call, "\n"); !seen[call] && len(out) < 3 {
			seen[call] = true
			out = append(out, d)
		}
	}
	return out
}

func indent(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n\t\n", "\n"), "\n\t", "\n               ")
}

func versionOf(t *testing.T, module string) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
