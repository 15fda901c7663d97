package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
)

// filePage is the page of a trace as one file, which needs no other.
type filePage struct {
	tracePage
	Policy  string        // the Content-Security-Policy
	Inline  template.HTML // style and scripts
	SQL     sqlPage       // the statements of the trace
	Version string
	Now     time.Time
}

// html serves api/dendro/traces/{id}/html: the page of a trace as one file, with the details of all
// spans.
func (h *handler) html(w http.ResponseWriter, r *http.Request, args []string) {
	t, straight := h.findFor(w, r, args[0])
	if t == nil {
		return
	}
	p := filePage{tracePage: h.tracePage(r, "", t, straight), Policy: filePolicy, Inline: fileHead, SQL: statementsOf(t), Version: dendro.Version, Now: time.Now()}
	page, err := execute("file.html", p)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="trace-%s.html"`, t.ID))
	// The last two scripts of the page hold the details and the rows.
	end := bytes.LastIndex(page, []byte("</script>"))
	middle := bytes.LastIndex(page[:end], []byte("</script>"))
	writePage(w, http.StatusOK, page[:middle])
	writeDetails(w, t)
	w.Write(page[middle:end])
	w.Write(p.Trace.encode())
	w.Write(page[end:])
}

// writeDetails writes the details of all spans as a JSON array, one after the other, because they
// may be larger than the trace. Errors are those of w: the client has disconnected.
func writeDetails(w http.ResponseWriter, t *collector.Trace) {
	separator := "["
	for i := range t.Spans {
		text, err := json.Marshal(detailOf(&t.Spans[i]))
		if err != nil {
			continue // marshaling a detail cannot fail
		}
		w.Write([]byte(separator))
		if _, err := w.Write(text); err != nil {
			return
		}
		separator = ",\n"
	}
	w.Write([]byte("]"))
}

// fileHead and filePolicy are the style and the scripts of a page that is a file, and the
// Content-Security-Policy that allows these and nothing else.
var fileHead, filePolicy = inlineAssets()

// inlineAssets makes the assets part of a page. The modules are data: URLs that import each other
// by names, which an import map resolves.
func inlineAssets() (head template.HTML, policy string) {
	imports := map[string]string{}
	var style string
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assetFiles.ReadFile(name)
		switch path.Ext(name) {
		case ".css":
			style = string(data)
		case ".js":
			module := strings.ReplaceAll(string(data), `from "./`, `from "dendro/`)
			imports["dendro/"+path.Base(name)] = "data:text/javascript;base64," + base64.StdEncoding.EncodeToString([]byte(module))
		}
		return err
	})
	if err != nil {
		panic(err) // reading embedded files cannot fail
	}
	importMap, err := json.Marshal(map[string]any{"imports": imports})
	if err != nil {
		panic(err) // marshaling strings cannot fail
	}
	const start = `import "dendro/trace.js";`
	source := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy = "default-src 'none'; script-src data: " + source(string(importMap)) + " " + source(start) + "; style-src " + source(style) +
		"; img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	return template.HTML("<style>" + style + "</style>\n<script type=\"importmap\">" + string(importMap) + "</script>\n<script type=\"module\">" + start + "</script>"), policy
}
