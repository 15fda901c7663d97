package main

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/pebblestore"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/tracefile"
)

// runExport writes the traces of a page to a file of OTLP JSON lines.
func runExport(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := newClient("export", "[FILE]", "-since 24h traces.json.zst", stderr)
	since := c.flags.Duration("since", 0, "only traces that began at most this `time` before now")
	data := c.flags.String("data", "", "`directory` of a store that no server uses, instead of -addr")
	query := c.flags.String("q", "", "only traces that match this TraceQL `query`")
	compression := c.flags.String("z", "", "`compression`: gzip, zstd or none; by default the ending of the name says it, .gz or .zst")
	switch err := c.flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case c.flags.NArg() > 1:
		return usageError(c.flags, "unexpected argument %q", c.flags.Arg(1))
	}
	name := c.flags.Arg(0)
	compress := compressions[compressionOf(*compression, name)]
	if compress == nil {
		return usageError(c.flags, "-z %s: want gzip, zstd or none", *compression)
	}
	if *since < 0 {
		return usageError(c.flags, "-since %v: want a time that is not negative", *since)
	}
	if *data == "" {
		if code := c.connect(); code >= 0 {
			return code
		}
		defer c.close()
	}
	v := url.Values{}
	if *query != "" {
		v.Set("q", *query)
	}
	if *since > 0 {
		v.Set("start", strconv.FormatInt(time.Now().Add(-*since).Unix(), 10))
	}
	var done exported
	began := time.Now()
	stop := progress(stderr, func() string { return fmt.Sprintf("%s, %s a second", &done, size(perSecond(done.bytes.Load(), began))) })
	err := writeFile(name, stdout, func(w io.Writer) error {
		z, err := compress(w)
		if err != nil {
			return err
		}
		done.w = z
		if *data != "" {
			err = exportData(ctx, &done, *data, *query, *since)
		} else {
			var body io.ReadCloser
			if body, err = c.open(ctx, "/api/dendro/export", v, "application/x-ndjson"); err == nil {
				err = copyLines(&done, body)
				body.Close()
			}
		}
		return cmp.Or(err, z.Close())
	})
	stop()
	switch {
	case ctx.Err() != nil:
		return c.fail(errInterrupted)
	case err != nil:
		return c.fail(err)
	}
	fmt.Fprintln(stderr, &done)
	return exitOK
}

// exportData writes the traces of a directory.
func exportData(ctx context.Context, w io.Writer, dir, query string, since time.Duration) error {
	q, err := traceql.Parse(cmp.Or(query, "{ }"))
	if err != nil {
		return err
	}
	if q.IsMetrics() {
		return traceql.ErrMetrics
	}
	if found, err := fs.Glob(os.DirFS(dir), "MANIFEST-*"); err != nil || len(found) == 0 { // Open would make a store
		return fmt.Errorf("%s: there is no store in it", dir)
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{MaxBytes: math.MaxInt64}) // which drops nothing
	if err != nil {
		return err
	}
	var in collector.TimeRange
	if since > 0 {
		in.Start = time.Now().Add(-since)
	}
	return errors.Join(tracefile.Write(ctx, w, s, q, in), s.Close())
}

// exported counts the lines that are written to w, one at a time.
type exported struct {
	w            io.Writer
	lines, bytes atomic.Int64
}

func (e *exported) Write(line []byte) (int, error) {
	n, err := e.w.Write(line)
	if err == nil {
		e.lines.Add(1)
		e.bytes.Add(int64(n))
	}
	return n, err
}

func (e *exported) String() string {
	return fmt.Sprintf("%d lines exported, %s", e.lines.Load(), size(e.bytes.Load()))
}

// copyLines copies the lines of an export of a page, whole ones only. It returns the error with
// which that has ended.
func copyLines(w io.Writer, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxDocumentBytes)
	lines.Split(splitLines)
	for lines.Scan() {
		line := lines.Bytes()
		if !bytes.HasPrefix(line, []byte(`{"resourceSpans":`)) {
			var last struct{ Error string }
			if json.Unmarshal(line, &last) == nil && last.Error != "" {
				return fmt.Errorf("the export is not complete: %s", printable(last.Error))
			}
			return errors.New("the answer is not an export: is it a page of dendro?")
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			return fmt.Errorf("the export is not complete: %w", cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}

// splitLines is a [bufio.SplitFunc] for lines with their line break, which the last may lack.
func splitLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 && atEOF {
		n = len(data)
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// compressions are the values of the flag -z.
var compressions = map[string]func(io.Writer) (io.WriteCloser, error){
	"none": func(w io.Writer) (io.WriteCloser, error) { return unclosed{w}, nil },
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil },
	"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
}

// unclosed is a writer that need not be closed.
type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

// compressionOf returns the value of the flag -z for a file.
func compressionOf(given, name string) string {
	switch {
	case given != "":
		return given
	case strings.HasSuffix(name, ".gz"):
		return "gzip"
	case strings.HasSuffix(name, ".zst"):
		return "zstd"
	}
	return "none"
}

// writeFile calls write with a file that gets its name when all has been written: there is never a
// part of it under that name. It has the permissions of the file that it replaces, or else is for its
// owner only. A symbolic link stays, and the file that it leads to is the one that is written. Without
// a name, or with "-", it is stdout. What is there and is no regular file, such as a pipe, is written
// to as it is.
func writeFile(name string, stdout io.Writer, write func(io.Writer) error) error {
	if name == "" || name == "-" {
		return buffered(stdout, write)
	}
	mode := os.FileMode(0o600)
	switch info, err := os.Stat(name); {
	case err == nil && !info.Mode().IsRegular():
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		return errors.Join(buffered(f, write), f.Close())
	case err == nil:
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	name = linked(name)
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return err
	}
	err = buffered(f, write)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that matters is the first
	}
	return err
}

// linked returns the name of the file to which name leads by symbolic links, which need not exist.
func linked(name string) string {
	for range 255 { // the most that a system follows
		to, err := os.Readlink(name)
		if err != nil {
			break // no link
		}
		if !filepath.IsAbs(to) {
			to = filepath.Dir(name) + string(filepath.Separator) + to // what comes before ".." may be a link
		}
		name = to
	}
	return name
}

func buffered(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, 64<<10)
	return cmp.Or(write(b), b.Flush()) // also what comes before the error
}
