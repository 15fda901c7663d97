package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro/internal/tracefile"
)

// Bounds of imported files.
const (
	// maxImports is how many files are held, those that were looked at last, with
	// maxImportedSpans together, until nobody has looked at them for importIdle.
	maxImports       = 4
	maxImportedSpans = 500_000
	importIdle       = time.Hour
	// maxImportBytes bounds a file, as it is sent and decompressed.
	maxImportBytes = 64 << 20
	// maxImportedObjects bounds the JSON objects of a file. An empty one has 2 bytes, and takes some
	// hundred when it is decoded.
	maxImportedObjects = 3_000_000
)

// imports holds imported files. Its methods are safe for concurrent use.
type imports struct {
	decoding sync.Mutex // held while a file is decompressed and decoded, which takes many times its size

	mu    sync.Mutex
	files []*importedFile // the least recently used first; guarded by mu
}

// importedFile is a handler for the traces of a file.
type importedFile struct {
	token string
	*handler
	spans int
	used  time.Time
}

// add holds the traces of a file, and returns the token by which get finds them. It drops other
// files to make room.
func (im *imports) add(name string, s *fileStore, now time.Time) (token string) {
	random := make([]byte, 16)
	rand.Read(random) // never fails
	f := &importedFile{hex.EncodeToString(random), &handler{store: s, file: cmp.Or(name, "without a name"), now: s.now, since: s.window()}, s.stats.Spans, now}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.files = append(im.files, f)
	spans := 0
	for i, f := range slices.Backward(im.files) {
		if spans += f.spans; spans > maxImportedSpans || len(im.files)-i > maxImports {
			im.files = slices.Delete(im.files, 0, i+1)
			break
		}
	}
	return f.token
}

// get returns the handler of a file, or nil if it is not held.
func (im *imports) get(token string, now time.Time) *handler {
	im.mu.Lock()
	defer im.mu.Unlock()
	i := slices.IndexFunc(im.files, func(f *importedFile) bool { return f.token == token })
	if i < 0 {
		return nil
	}
	f := im.files[i]
	f.used = now
	im.files = append(slices.Delete(im.files, i, i+1), f)
	return f.handler
}

// expire drops the files at which nobody has looked for long.
func (im *imports) expire(now time.Time) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.files = slices.DeleteFunc(im.files, func(f *importedFile) bool { return now.Sub(f.used) > importIdle })
}

// imported serves the pages of a file. root is the relative path to the mount point.
func (h *handler) imported(w http.ResponseWriter, r *http.Request, token, root string) {
	if of := h.imports.get(token, time.Now()); of != nil {
		of.serve(w, r)
		return
	}
	err := errors.New("it is no longer held: import it again")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		fail(w, http.StatusNotFound, fmt.Errorf("404 not found: the imported file cannot be shown: %w", err))
		return
	}
	h.importForm(w, r, root, http.StatusNotFound, err)
}

type importPage struct {
	frame
	Most    int64  // bytes
	Problem string // why there is nothing to show
}

func (h *handler) importForm(w http.ResponseWriter, r *http.Request, root string, status int, problem error) {
	p := importPage{frame: h.frame(r.Context(), root, "Import"), Most: maxImportBytes}
	if problem != nil {
		p.Problem = problem.Error()
	}
	render(w, status, "import.html", p)
}

// importPage serves the form for a file, and receives one. It redirects to the overview of the file,
// or to its trace if it has only one.
func (h *handler) importPage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		h.importForm(w, r, "./", http.StatusOK, nil)
		return
	}
	to, status, err := h.importFile(w, r)
	if err != nil {
		h.importForm(w, r, "./", status, err)
		return
	}
	redirect(w, http.StatusSeeOther, to)
}

// importFile receives a file and returns the relative path to what shows it.
func (h *handler) importFile(w http.ResponseWriter, r *http.Request) (to string, status int, err error) {
	if new(http.CrossOriginProtection).Check(r) != nil {
		return "", http.StatusForbidden, errOtherSite
	}
	name, data, err := receive(w, r)
	var s *fileStore
	if err == nil {
		s, err = h.imports.decode(r.Context(), data)
	}
	large := (*http.MaxBytesError)(nil)
	switch {
	case errors.As(err, &large):
		return "", http.StatusRequestEntityTooLarge, errTooLarge
	case errors.Is(err, errTooLarge) || errors.Is(err, errTooMany) || errors.Is(err, errTooManyObjects):
		return "", http.StatusRequestEntityTooLarge, err
	case err != nil:
		return "", http.StatusBadRequest, err
	}
	to = "import/" + h.imports.add(name, s, time.Now()) + "/"
	if len(s.traces) == 1 {
		to += "trace/" + s.traces[0].ID.String()
	}
	return to, http.StatusSeeOther, nil
}

// decode decompresses and decodes one file at a time.
func (im *imports) decode(ctx context.Context, data []byte) (*fileStore, error) {
	im.decoding.Lock()
	defer im.decoding.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := decompress(data)
	if err != nil {
		return nil, err
	}
	if bytes.Count(data, []byte("{")) > maxImportedObjects {
		return nil, errTooManyObjects
	}
	batches, err := tracefile.Decode(data)
	if err != nil {
		return nil, err
	}
	return newFileStore(batches, int64(len(data)))
}

var (
	errTooLarge = fmt.Errorf("it has more than %s: cut it in parts", formatBytes(maxImportBytes))
	errTooMany  = fmt.Errorf("it has more than %s spans: cut it in parts", formatCount(maxImportedSpans))

	errOtherSite      = errors.New("the request comes from a page of another site")
	errTooManyObjects = fmt.Errorf("it has more than %s JSON objects: cut it in parts", formatCount(maxImportedObjects))
)

// receive reads the field file of a form. It writes nothing to disk.
func receive(w http.ResponseWriter, r *http.Request) (name string, data []byte, err error) {
	const maxForm = maxImportBytes + 64<<10
	if r.ContentLength > maxForm {
		return "", nil, errTooLarge
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	parts, err := r.MultipartReader()
	if err != nil {
		return "", nil, fmt.Errorf("want a form with a file (multipart/form-data): %w", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return "", nil, errors.New("choose a file")
		}
		if err != nil {
			return "", nil, fmt.Errorf("reading the form: %w", err)
		}
		if part.FormName() == "file" && part.FileName() != "" {
			data, err := readAtMost(part, maxImportBytes)
			return short(strings.ToValidUTF8(part.FileName(), "�")), data, err
		}
	}
}

// readAtMost reads all of r, or returns errTooLarge if that is more than most bytes.
func readAtMost(r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) > most {
		err = errTooLarge
	}
	return data, err
}

// decompress returns data, decompressed if it is a gzip file.
func decompress(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		data, err = readAtMost(z, maxImportBytes)
	}
	if err != nil && !errors.Is(err, errTooLarge) {
		err = fmt.Errorf("decompressing it: %w", err)
	}
	return data, err
}
