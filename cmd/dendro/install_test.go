package main

import (
	"archive/zip"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// releases are the modules that are released together, by their folders.
var releases = []string{".", "collector/clickhousestore", "collector/pebblestore", "cmd/dendro"}

// TestInstall: "go install …/cmd/dendro@VERSION" builds a released version. The release comes
// from a module proxy in a folder (Go Modules Reference, "GOPROXY protocol").
func TestInstall(t *testing.T) {
	if testing.Short() || testkit.Race {
		t.Skip("builds the program from scratch, which takes minutes and has no race")
	}
	const module, version = "github.com/dendrotrace/dendro", "v0.1.0-rc.1"
	proxy := t.TempDir()
	for _, dir := range releases {
		release(t, proxy, module, dir, version)
	}

	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	testkit.NoError(t, err)
	bin := t.TempDir()
	install := exec.Command("go", "install", module+"/cmd/dendro@"+version)
	install.Dir = bin // outside of any module
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOMODCACHE="+t.TempDir(), "GOFLAGS=-modcacherw", "GOWORK=off", "GOSUMDB=off", "GONOPROXY=none", "GOPRIVATE=",
		"GOPROXY="+folder(proxy)+","+folder(filepath.Join(strings.TrimSpace(string(cache)), "cache", "download")))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install: %v\n%s", err, out)
	}
	out, err := exec.Command(filepath.Join(bin, "dendro"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "dendro "+dendro.Version) {
		t.Errorf("dendro version: %v, %q", err, out)
	}
}

// release puts the module in a folder of the repository into a proxy, with a go.mod as
// CONTRIBUTING.md describes it: the modules of the repository require each other's release.
func release(t *testing.T, proxy, root, dir, version string) {
	module := path.Join(root, dir)
	release := filepath.Join(proxy, module, "@v", version)
	testkit.NoError(t, os.MkdirAll(filepath.Dir(release), 0o700))
	testkit.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(release), "list"), []byte(version+"\n"), 0o600))
	info, err := json.Marshal(map[string]string{"Version": version, "Time": "2026-01-02T03:04:05Z"})
	testkit.NoError(t, err)
	testkit.NoError(t, os.WriteFile(release+".info", info, 0o600))

	mod, err := os.ReadFile(filepath.Join("..", "..", dir, "go.mod"))
	testkit.NoError(t, err)
	testkit.NoError(t, os.WriteFile(release+".mod", mod, 0o600))
	for _, other := range releases {
		name := path.Join(root, other)
		if strings.Contains(string(mod), "replace "+name+" ") {
			edit := exec.Command("go", "mod", "edit", "-dropreplace="+name, "-require="+name+"@"+version, release+".mod")
			if out, err := edit.CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", edit, err, out)
			}
		}
	}
	file, err := os.Create(release + ".zip")
	testkit.NoError(t, err)
	pack(t, file, filepath.Join("..", "..", dir), release+".mod", module+"@"+version)
	testkit.NoError(t, file.Close())
}

// folder returns the URL of a folder.
func folder(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	return "file://" + path
}

// pack writes the module in root, with another go.mod, as the zip file of a release, without the
// modules in it.
func pack(t *testing.T, file *os.File, root, mod, prefix string) {
	archive := zip.NewWriter(file)
	testkit.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil || name == ".":
			return err
		case entry.IsDir():
			_, err := os.Stat(filepath.Join(path, "go.mod"))
			if err == nil || entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		case filepath.Dir(name) == "bin": // programs that were built here
			return nil
		case name == "go.mod":
			path = mod
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := archive.Create(prefix + "/" + filepath.ToSlash(name))
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}))
	testkit.NoError(t, archive.Close())
}
