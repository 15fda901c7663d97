package dendro_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// TestReadme compiles the Go blocks of the README, each as the body of a function.
func TestReadme(t *testing.T) {
	const module = "github.com/dendrotrace/dendro"
	imports := map[string]string{"dendro": module, "memory": module + "/collector/memory"}
	for _, name := range []string{"middleware", "transport", "sqldriver", "collector/remote", "collector/web"} {
		imports[filepath.Base(name)] = module + "/" + name
	}
	readme, err := os.ReadFile("README.md")
	testkit.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d blocks of Go", len(blocks))
	}
	var used []string
	var bodies strings.Builder
	for i, block := range blocks {
		for name := range imports {
			if regexp.MustCompile(`\b`+name+`\.`).MatchString(block[1]) && !slices.Contains(used, name) {
				used = append(used, name)
			}
		}
		fmt.Fprintf(&bodies, "func block%d(r chi.Router, dsn string) {\n%s%s}\n", i, block[1], use(t, block[1]))
	}
	source := "package main\n\nimport \"github.com/go-chi/chi/v5\"\n"
	for _, name := range used {
		source += fmt.Sprintf("import %q\n", imports[name])
	}
	source += "func main() { block0(nil, \"\") }\n" + bodies.String()

	// The program is in this module, but not on disk.
	dir := t.TempDir()
	main, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json")
	testkit.NoError(t, os.WriteFile(main, []byte(source), 0o600))
	here, err := filepath.Abs(filepath.Join("internal", "readme", "main.go"))
	testkit.NoError(t, err)
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{here: main}})
	testkit.NoError(t, err)
	testkit.NoError(t, os.WriteFile(overlay, replace, 0o600))
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", os.DevNull, "./internal/readme").CombinedOutput(); err != nil {
		t.Errorf("README.md: %v\n%s\n%s", err, out, source)
	}
}

// use returns statements that use the variables which block declares.
func use(t *testing.T, block string) string {
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() {\n"+block+"}\n", 0)
	testkit.NoError(t, err)
	uses := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && a.Tok == token.DEFINE {
			for _, name := range a.Lhs {
				uses += fmt.Sprintf("_ = %s\n", name)
			}
		}
		return true
	})
	return uses
}
