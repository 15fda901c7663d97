package transparency

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// modified is the modification time of the files of the cases.
var modified = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// inDirectory calls f with a directory that contains a file of 128 KiB and a directory
// with a page.
func inDirectory(f func(dir string)) {
	dir, err := os.MkdirTemp("", "transparency")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for name, content := range map[string]string{
		"file.txt":       strings.Repeat("0123456789abcdef", 1<<13),
		"sub/index.html": "<p>index",
	} {
		name = filepath.Join(dir, name)
		_ = os.MkdirAll(filepath.Dir(name), 0o700)
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			panic(err)
		}
		if err := os.Chtimes(name, modified, modified); err != nil {
			panic(err)
		}
	}
	f(dir)
}

// copyFile sends the file of [inDirectory] as returned by f.
func (x *exchange) copyFile(w http.ResponseWriter, dir string, f func(*os.File) io.Reader) {
	file, err := os.Open(filepath.Join(dir, "file.txt"))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	n, err := io.Copy(w, f(file))
	x.handler("copied %d, %s", n, describe(err))
}

// http1Writer has the methods of a response writer of HTTP/1.1.
type http1Writer interface {
	http.ResponseWriter
	http.Flusher
	FlushError() error
	http.Hijacker
	io.ReaderFrom
	io.StringWriter
	deprecatedCloseNotifier
}

// sourceSpy records from what net/http reads. If it is a file, net/http lets the
// system send it.
type sourceSpy struct {
	http1Writer
	x *exchange
}

func (s sourceSpy) ReadFrom(src io.Reader) (int64, error) {
	s.x.outer("ReadFrom %T", src)
	return s.http1Writer.ReadFrom(src)
}

func (s sourceSpy) Write(p []byte) (int, error) {
	s.x.outer("Write %d", len(p))
	return s.http1Writer.Write(p)
}

func (s sourceSpy) WriteString(p string) (int, error) {
	s.x.outer("WriteString %d", len(p))
	return s.http1Writer.WriteString(p)
}

// spyOn is [exchange.handle] with a [sourceSpy] between net/http and the wrapper.
func (x *exchange) spyOn(h http.HandlerFunc) http.Handler {
	inner := x.wrap(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(sourceSpy{w.(http1Writer), x}, r)
	})
}

var fileCases = []Case{
	{"io.Copy of a file", everywhere, func(x *exchange) {
		inDirectory(func(dir string) {
			s := x.handle(func(w http.ResponseWriter, r *http.Request) {
				x.copyFile(w, dir, func(f *os.File) io.Reader {
					if r.URL.Path == "/part" {
						return io.LimitReader(f, 1000)
					}
					return f
				})
			})
			x.get(s, "/", "/part")
		})
	}},
	{"what net/http is given to send", onlyHTTP1, func(x *exchange) {
		inDirectory(func(dir string) {
			s := x.serve(x.spyOn(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/file":
					x.copyFile(w, dir, func(f *os.File) io.Reader { return f })
				case "/part":
					x.copyFile(w, dir, func(f *os.File) io.Reader { return io.LimitReader(f, 1000) })
				case "/serve":
					http.ServeFile(w, r, filepath.Join(dir, "file.txt"))
				case "/string":
					io.WriteString(w, "string")
					_, _ = io.Copy(w, strings.NewReader("writer to"))
					_, _ = io.Copy(w, io.LimitReader(strings.NewReader("reader"), 3))
				}
			}))
			x.get(s, "/file", "/part", "/serve", "/string")
		})
	}},
	{"ServeFile and FileServer", everywhere, func(x *exchange) {
		inDirectory(func(dir string) {
			files := http.FileServer(http.Dir(dir))
			s := x.handle(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/one" {
					http.ServeFile(w, r, filepath.Join(dir, "file.txt"))
					return
				}
				files.ServeHTTP(w, r)
			})
			x.get(s, "/one", "/file.txt", "/sub/", "/sub", "/sub/index.html", "/none")
			x.do(s, x.newRequest("HEAD", s, "/file.txt", nil))
		})
	}},
	{"ServeContent with conditions", everywhere, func(x *exchange) {
		s := x.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "a.txt", modified, strings.NewReader("0123456789"))
		})
		for _, h := range []http.Header{
			{},
			{"Range": {"bytes=2-4"}},
			{"Range": {"bytes=-3"}},
			{"Range": {"bytes=20-"}},
			{"Range": {"bytes=2-4"}, "If-Range": {`"v2"`}},
			{"If-Modified-Since": {modified.Format(http.TimeFormat)}},
			{"If-None-Match": {`"v1"`}},
			{"If-Match": {`"v2"`}},
		} {
			r := x.newRequest("GET", s, "/", nil)
			r.Header = h
			x.do(s, r)
		}
	}},
	{"a form with files", everywhere, func(x *exchange) {
		count := x.countTemporaryFiles()
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("ParseMultipartForm %s", describe(r.ParseMultipartForm(1)))
			x.handler("value %q %q", r.FormValue("name"), r.PostFormValue("name"))
			f, header, err := r.FormFile("upload")
			if err != nil {
				x.handler("%s", describe(err))
				return
			}
			defer f.Close()
			n, err := io.Copy(io.Discard, f)
			x.handler("file %T, %d of %d bytes, %s", f, n, header.Size, describe(err))
			x.handler("temporary files %d", count())
		})
		x.do(s, x.upload(s))
		x.do(s, x.upload(s))
	}},
	{"a form with files, and a panic", everywhere, func(x *exchange) {
		x.countTemporaryFiles()
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			x.handler("ParseMultipartForm %s", describe(r.ParseMultipartForm(1)))
			panic(http.ErrAbortHandler)
		})
		x.quiet = true
		_, err := s.Client().Do(x.upload(s))
		x.client("fails: %t", err != nil)
	}},
	{"a form with files, parsed by a handler inside a copy", everywhere, func(x *exchange) {
		count := x.countTemporaryFiles()
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			r.Form, r.PostForm = nil, nil
			x.handler("ParseMultipartForm %s", describe(r.ParseMultipartForm(1)))
			x.handler("temporary files %d", count())
			_ = r.MultipartForm.RemoveAll()
			x.handler("temporary files %d", count())
		})
		x.do(s, x.upload(s))
	}},
	{"MultipartReader", everywhere, func(x *exchange) {
		s := x.handle(func(_ http.ResponseWriter, r *http.Request) {
			parts, err := r.MultipartReader()
			x.handler("MultipartReader %s", describe(err))
			for err == nil {
				var p *multipart.Part
				if p, err = parts.NextPart(); err == nil {
					n, _ := io.Copy(io.Discard, p)
					x.handler("%q %d", p.FormName(), n)
				}
			}
			x.handler("end %s", describe(err))
			x.handler("ParseMultipartForm %s", describe(r.ParseMultipartForm(1)))
		})
		x.do(s, x.upload(s))
	}},
}

// countTemporaryFiles uses a new directory for temporary files. count returns how many
// there are. Their number is also recorded at the end.
func (x *exchange) countTemporaryFiles() (count func() int) {
	dir, err := os.MkdirTemp("", "transparency")
	if err != nil {
		panic(err)
	}
	count = func() int {
		entries, _ := os.ReadDir(dir)
		return len(entries)
	}
	restore := setenv("TMPDIR", dir)
	restoreWindows := setenv("TMP", dir)
	x.atEnd = func() {
		x.note("at the end", "temporary files %d", count())
		restore()
		restoreWindows()
		_ = os.RemoveAll(dir)
	}
	return count
}

func setenv(name, value string) (restore func()) {
	old, ok := os.LookupEnv(name)
	_ = os.Setenv(name, value)
	return func() {
		if _ = os.Setenv(name, old); !ok {
			_ = os.Unsetenv(name)
		}
	}
}

// upload returns a request with a form that has a file of 64 KiB.
func (x *exchange) upload(s *httptest.Server) *http.Request {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.SetBoundary("boundary")
	_ = form.WriteField("name", "value")
	part, err := form.CreateFormFile("upload", "a.bin")
	if err != nil {
		panic(err)
	}
	_, _ = part.Write(make([]byte, 1<<16))
	_ = form.Close()
	r := x.newRequest("POST", s, "/?name=query", &body)
	r.Header.Set("Content-Type", form.FormDataContentType())
	return r
}
