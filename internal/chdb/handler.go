//go:build linux

package main

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
)

// handler serves ClickHouse's HTTP interface:
// https://clickhouse.com/docs/interfaces/http
type handler struct {
	engine *engine
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ping":
		fmt.Fprint(w, "Ok.\n")
		return
	case "/":
	default:
		http.NotFound(w, r)
		return
	}
	out, err := h.run(r)
	if err != nil {
		var ex *exception
		if errors.As(err, &ex) {
			w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(ex.code))
		}
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintln(w, err)
		return
	}
	if err := writeBody(w, r, out); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// run runs the query of a request in a session of its own, and returns the result.
func (h *handler) run(r *http.Request) ([]byte, error) {
	body, err := requestBody(r)
	if err != nil {
		return nil, err
	}
	values := r.URL.Query()
	s, err := h.engine.session()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if database := values.Get("database"); database != "" {
		if _, err := s.query("USE `"+escape(database, '`')+"`", "", nil); err != nil {
			return nil, err
		}
	}
	if set := settings(r.Method, values); set != "" {
		if _, err := s.query(set, "", nil); err != nil {
			return nil, err
		}
	}
	params := map[string]string{}
	for name := range values {
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			params[param] = values.Get(name)
		}
	}

	query := values.Get("query")
	if m := insertWithData.FindStringSubmatch(query); m != nil {
		return nil, s.insert(m[1], cmp.Or(m[2], "Values"), params, body)
	}
	rest, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	query += string(rest)
	format := cmp.Or(values.Get("default_format"), "TabSeparated")
	out, err := s.query(query, format, params)
	if err != nil {
		return nil, err
	}
	if m := formatClause.FindStringSubmatch(query); m != nil {
		format = m[1]
	}
	revision, _ := strconv.ParseUint(values.Get("client_protocol_version"), 10, 64)
	if format == "Native" && revision > 0 {
		return encodeNative(out, revision)
	}
	return out, nil
}

var (
	// insertWithData is an INSERT whose rows are in the body.
	insertWithData = regexp.MustCompile(`(?is)^(\s*INSERT\s.*?)\s(?:FORMAT\s+(\w+)|VALUES)\s*;?\s*$`)
	// formatClause is the end of a statement that names the format of its result.
	formatClause = regexp.MustCompile(`(?is)\sFORMAT\s+(\w+)\s*(?:\sSETTINGS\s.*)?;?\s*$`)
)

// notSettings are the parameters of a request, besides param_…, that are no settings.
var notSettings = map[string]bool{
	"query": true, "database": true, "default_format": true, "client_protocol_version": true, "query_id": true,
	"quota_key": true, "user": true, "password": true, "compress": true, "decompress": true,
	"buffer_size": true, "wait_end_of_query": true, "stacktrace": true,
	"session_id": true, "session_timeout": true, "session_check": true, "close_session": true, "role": true,
}

// settings returns a SET statement for the settings of a request, or "".
func settings(method string, values url.Values) string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !notSettings[name] && !strings.HasPrefix(name, "param_") {
			set = append(set, "`"+escape(name, '`')+"` = '"+escape(values.Get(name), '\'')+"'")
		}
	}
	if method == http.MethodGet {
		set = append(set, "readonly = 2")
	}
	if set == nil {
		return ""
	}
	return "SET " + strings.Join(set, ", ")
}

// escape returns s for between quotes.
func escape(s string, quote rune) string {
	return strings.NewReplacer(`\`, `\\`, string(quote), `\`+string(quote)).Replace(s)
}

// requestBody returns the body without its compression.
func requestBody(r *http.Request) (io.Reader, error) {
	var body io.Reader = r.Body
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
	case "gzip":
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("Content-Encoding %q is not supported: want gzip", encoding)
	}
	if r.URL.Query().Get("decompress") == "1" {
		body = compress.NewReader(body)
	}
	return body, nil
}

// writeBody writes a result with the compression that the request wants.
func writeBody(w http.ResponseWriter, r *http.Request, out []byte) error {
	switch {
	case len(out) == 0:
		return nil
	case r.URL.Query().Get("compress") == "1":
		method := compress.LZ4
		if strings.EqualFold(r.URL.Query().Get("network_compression_method"), "zstd") {
			method = compress.ZSTD
		}
		blocks := compress.NewWriter(0, method)
		for part := range slices.Chunk(out, 1<<20) {
			if err := blocks.Compress(part); err != nil {
				return err
			}
			if _, err := w.Write(blocks.Data); err != nil {
				return err
			}
		}
		return nil
	case r.Header.Get("Accept-Encoding") == "gzip":
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		if _, err := z.Write(out); err != nil {
			return err
		}
		return z.Close()
	default:
		_, err := w.Write(out)
		return err
	}
}
