// Package architecture tests which package of this module may import which.
package architecture

import (
	"encoding/json"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dendrotrace/dendro"

// allowed lists what each package may import besides the standard library. Names
// without a domain are packages of this module, and "" is the root package.
var allowed = map[string][]string{
	"":                               {"internal/bridge", "internal/monotonic"},
	"middleware":                     {"", "internal/bridge", "internal/monotonic", "internal/naming", "internal/semconv", "github.com/go-chi/chi/v5"},
	"transport":                      {"", "internal/bridge", "internal/monotonic", "internal/semconv", "transport/internal/http2"},
	"propagation":                    {""},
	"diagnostics":                    {"", "collector", "internal/goroutine", "internal/naming", "internal/semconv", "google.golang.org/protobuf/encoding/protowire"},
	"dendrotest":                     {"", "collector", "collector/traceql", "internal/caller", "internal/goroutine", "internal/semconv"},
	"sqldriver":                      {"", "internal/bridge", "internal/monotonic", "internal/semconv", "internal/sqltext", "sqldriver/internal/drivernames"},
	"sqldriver/internal/drivernames": nil,
	"sqldriver/sqlxdb":               {"", "sqldriver", "sqldriver/internal/drivernames", "github.com/jmoiron/sqlx"},
	"collector":                      {""},
	"collector/auth":                 nil,
	"collector/keep":                 {"", "collector", "collector/memory", "collector/operations", "collector/traceql", "internal/semconv"},
	"collector/memory":               {"", "collector", "collector/internal/block", "collector/operations"},
	"collector/operations":           {"", "collector", "internal/semconv"},
	"collector/internal/block":       {"", "collector"},
	"collector/internal/spanjson":    {"", "internal/semconv"},
	"collector/internal/spool":       nil,
	"collector/jaeger":               {"", "collector/internal/spanjson", "internal/semconv"},
	"collector/otlp":                 {"", "internal/semconv", "google.golang.org/protobuf/encoding/protowire"},
	"collector/remote":               {"", "collector", "collector/internal/spool", "collector/keep", "collector/otlp"},
	"collector/server":               {"", "collector", "collector/keep", "collector/otlp", "collector/zipkin", "github.com/klauspost/compress/zstd"},
	"collector/spooled":              {"", "collector", "collector/internal/spool", "collector/otlp"},
	"collector/traceql":              {"", "collector"},
	"collector/web":                  {"", "collector", "collector/auth", "collector/keep", "collector/operations", "collector/otlp", "collector/traceql", "diagnostics", "internal/semconv", "internal/tracefile"},
	"collector/zipkin":               {"", "collector/internal/spanjson", "internal/semconv"},
	"collector/storetest":            {"", "collector", "collector/operations", "collector/traceql", "internal/semconv"},
	"internal/bridge":                nil,
	"internal/caller":                nil,
	"internal/goroutine":             nil,
	"internal/naming":                nil,
	"internal/monotonic":             nil,
	"internal/semconv":               nil,
	"internal/simulation":            {"", "collector", "collector/keep", "collector/otlp", "collector/remote", "collector/server"},
	"internal/sqltext":               {"", "internal/caller", "internal/semconv"},
	"internal/testkit":               {""},
	"internal/tracefile":             {"", "collector", "collector/jaeger", "collector/otlp", "collector/traceql", "collector/zipkin"},
	"internal/transparency":          {"github.com/go-chi/chi/v5", "github.com/go-chi/chi/v5/middleware"},
	// A driver and programs that use it, for the tests of sqldriver and its peers.
	"internal/sqltransparency": nil,
	// Programs that generate source files or run Go's own tests.
	"middleware/internal/gen": nil,
	// A type name that net/http knows.
	"transport/internal/http2": nil,
	"internal/gotests":         nil,
	"internal/architecture":    nil,
}

// An app that traces requests, calls and queries links only the standard library, chi
// and this module.
func TestAppDependencies(t *testing.T) {
	for _, p := range list(t, "-deps", module, module+"/middleware", module+"/transport", module+"/sqldriver") {
		if !p.Standard && !inside(p.ImportPath, module) && !inside(p.ImportPath, "github.com/go-chi/chi/v5") {
			t.Errorf("an app would link %s", p.ImportPath)
		}
	}
}

func TestImports(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range list(t, "-deps", module+"/...") {
		standard[p.ImportPath] = p.Standard
	}
	seen := map[string]bool{}
	for _, p := range list(t, module+"/...") {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s is not in the table: say what it may import", name)
			continue
		}
		seen[name] = true
		for _, imported := range p.Imports {
			short := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			if !standard[imported] && !slices.Contains(may, short) {
				t.Errorf("%s must not import %s", p.ImportPath, imported)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		if !seen[name] {
			t.Errorf("package %q is in the table but does not exist", name)
		}
	}
}

// A store in a module of its own imports of this module what the store in memory does.
func TestStoreImports(t *testing.T) {
	for _, store := range []string{"clickhousestore", "pebblestore"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Standard,Imports", ".")
		cmd.Dir = "../../collector/" + store
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", cmd, err)
		}
		var p goPackage
		if err := json.Unmarshal(out, &p); err != nil {
			t.Fatal(err)
		}
		for _, imported := range p.Imports {
			short := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			if inside(imported, module) && !slices.Contains(allowed["collector/memory"], short) {
				t.Errorf("%s must not import %s", p.ImportPath, imported)
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func list(t *testing.T, args ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports"}, args...)...)
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		switch err := dec.Decode(&p); err {
		case nil:
			packages = append(packages, p)
		case io.EOF:
			return packages
		default:
			t.Fatal(err)
		}
	}
}

func inside(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
