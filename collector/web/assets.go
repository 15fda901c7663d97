package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"time"
)

//go:embed assets
var assetFiles embed.FS

//go:embed compare.html file.html groups.html import.html kept.html list.html login.html now.html overview.html sql.html trace.html parts.html
var pageFiles embed.FS

// assetVersion is a hash of all assets. It is part of their path, so that browsers may
// cache them forever. Modules import each other by relative paths.
var assetVersion = hashAssets()

func hashAssets() string {
	h := sha256.New()
	err := fs.WalkDir(assetFiles, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assetFiles.ReadFile(name)
		h.Write([]byte(name))
		h.Write(data)
		return err
	})
	if err != nil {
		panic(err) // reading embedded files cannot fail
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

var imported = regexp.MustCompile(`(?m)^import .* from "\./(.*)";$`)

// modulesOf returns the modules that a script imports, directly or not, so that browsers load
// them all at once.
func modulesOf(script string) (modules []string) {
	for at := []string{script}; len(at) > 0; at = at[1:] {
		data, err := assetFiles.ReadFile("assets/" + at[0])
		if err != nil {
			panic(err) // reading embedded files cannot fail
		}
		for _, m := range imported.FindAllSubmatch(data, -1) {
			if name := string(m[1]); !slices.Contains(modules, name) {
				modules, at = append(modules, name), append(at, name)
			}
		}
	}
	return modules
}

// assetTypes are the media types of assets. They do not depend on the MIME tables of
// the machine.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// asset serves dendro-assets/{version}/{file}.
func (h *handler) asset(w http.ResponseWriter, r *http.Request, args []string) {
	version, name := args[0], args[1]
	data, err := assetFiles.ReadFile("assets/" + name)
	if err != nil {
		http.Error(w, "404 not found: no such asset", http.StatusNotFound)
		return
	}
	head := w.Header()
	head.Set("Content-Type", assetTypes[path.Ext(name)])
	head.Set("Etag", `"`+assetVersion+`"`)
	head.Set("Cache-Control", "no-cache")
	if version == assetVersion {
		head.Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"assets":   func() string { return "dendro-assets/" + assetVersion + "/" },
	"bytes":    formatBytes,
	"colour":   colourOf,
	"count":    formatCount,
	"duration": formatDuration,
	"percent":  percent,
	"clock":    clock,
	"modules":  modulesOf,
	"moment":   moment,
	"number":   formatNumber,
	"rfc":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"share":    formatShare,
	"short":    short,
	"sum":      sum,
}).ParseFS(pageFiles, "*.html"))
