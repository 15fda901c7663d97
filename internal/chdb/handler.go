//go:build linux

package main

import (
	"cmp"
	"compress/gzip"
	"context"
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
	"sync/atomic"

	"github.com/ClickHouse/ch-go/compress"
)

// handler serves ClickHouse's HTTP interface, https://clickhouse.com/docs/interfaces/http.
// Each request has a session of its own, so that its settings end with it, and requests run at the
// same time.
type handler struct {
	engine   *engine
	requests atomic.Uint64
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
	case "/ping":
		fmt.Fprint(w, "Ok.\n")
		return
	default:
		http.NotFound(w, r)
		return
	}
	result, err := h.run(r)
	if ex := (*exception)(nil); errors.As(err, &ex) {
		w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(ex.code))
		http.Error(w, ex.text, http.StatusInternalServerError)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := writeBody(w, r, result); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// run runs the statement of a request, which is the parameter query followed by the body, and returns
// its result.
func (h *handler) run(r *http.Request) ([]byte, error) {
	body, err := requestBody(r)
	if err != nil {
		return nil, err
	}
	values := r.URL.Query()
	if !values.Has("log_comment") {
		values.Set("log_comment", "request "+strconv.FormatUint(h.requests.Add(1), 10))
	}
	s, err := h.engine.session()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if database := values.Get("database"); database != "" {
		if err := s.exec("USE " + quote(database, '`')); err != nil {
			return nil, err
		}
	}
	if err := s.exec(settings(r.Method, values)); err != nil {
		return nil, err
	}
	params := map[string]string{}
	for name := range values {
		if param, ok := strings.CutPrefix(name, "param_"); ok {
			params[param] = values.Get(name)
		}
	}

	query := values.Get("query")
	if insert, format, data, ok := cutData(query); ok {
		return nil, s.insert(insert, format, params, io.MultiReader(strings.NewReader(data), body))
	}
	rest, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if query != "" && len(rest) > 0 {
		query += "\n"
	}
	query += string(rest)
	if insert, format, data, ok := cutData(query); ok {
		return nil, s.insert(insert, format, params, strings.NewReader(data))
	}
	if s.statements(query) > 1 {
		return nil, newException("Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)")
	}
	if values.Get("cancel_http_readonly_queries_on_client_close") == "1" && readOnly.MatchString(query) {
		defer h.killAfter(r.Context(), values.Get("log_comment"))()
	}
	format := cmp.Or(values.Get("default_format"), "TabSeparated")
	result, err := s.query(query, format, params)
	if err != nil {
		return nil, err
	}
	if m := formatClause.FindStringSubmatch(query); m != nil {
		format = m[1]
	}
	if revision, _ := strconv.ParseUint(values.Get("client_protocol_version"), 10, 64); format == "Native" && revision > 0 {
		return encodeNative(result, revision)
	}
	return result, nil
}

// killAfter kills the queries with a comment when ctx is done, unless the returned function was
// called before. That function waits until nothing is being killed.
func (h *handler) killAfter(ctx context.Context, comment string) (stop func()) {
	ended, killed := make(chan struct{}), make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(killed)
		s, err := h.engine.session()
		if err != nil {
			return
		}
		defer s.close()
		for { // until there is one
			select {
			case <-ended:
				return
			default:
			}
			// Not SYNC, which waits until the session of the query is closed.
			list, err := s.query("KILL QUERY WHERE Settings['log_comment'] = "+quote(comment, '\''), "TabSeparated", nil)
			if err != nil || len(list) > 0 {
				return
			}
		}
	})
	return func() {
		close(ended)
		if !cancel() {
			<-killed
		}
	}
}

// These know quotes, but no escapes in them and no comments.
var (
	dataClause   = regexp.MustCompile(`(?is)^(\s*INSERT\s(?:[^']|'[^']*')*?)\sFORMAT\s+(\w+)(?:\s*;|\s|$)`)
	selectClause = regexp.MustCompile(`(?i)\sSELECT\s`)
	formatClause = regexp.MustCompile(`(?is)\sFORMAT\s+(\w+)\s*(?:\sSETTINGS\s.*)?;?\s*$`)
	readOnly     = regexp.MustCompile(`(?i)^\s*(SELECT|WITH|SHOW|DESC|DESCRIBE|EXPLAIN|EXISTS)\s`)
)

// cutData splits an INSERT with a FORMAT clause into what precedes the clause, the format and the
// beginning of the data.
func cutData(query string) (insert, format, data string, ok bool) {
	m := dataClause.FindStringSubmatch(query)
	if m == nil || selectClause.MatchString(m[1]) {
		return "", "", "", false
	}
	return m[1], m[2], query[len(m[0]):], true
}

// notSettings are the parameters of a request, besides param_…, that are no settings.
var notSettings = map[string]bool{
	"query": true, "database": true, "default_format": true, "client_protocol_version": true, "query_id": true,
	"quota_key": true, "user": true, "password": true, "compress": true, "decompress": true,
	"buffer_size": true, "wait_end_of_query": true,
}

// settings returns a SET statement for the settings of a request. The first ones are those of a
// server, where the library has others.
func settings(method string, values url.Values) string {
	set := []string{"implicit_select = 0", "allow_introspection_functions = 0"}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !notSettings[name] && !strings.HasPrefix(name, "param_") {
			set = append(set, quote(name, '`')+" = "+quote(values.Get(name), '\''))
		}
	}
	if method == http.MethodGet {
		set = append(set, "readonly = 2")
	}
	return "SET " + strings.Join(set, ", ")
}

// quote returns s in quotes.
func quote(s string, mark rune) string {
	q := string(mark)
	return q + strings.NewReplacer(`\`, `\\`, q, `\`+q).Replace(s) + q
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
func writeBody(w http.ResponseWriter, r *http.Request, result []byte) error {
	switch {
	case len(result) == 0: // clickhouse-go expects no block if the length is 0
		return nil
	case r.URL.Query().Get("compress") == "1":
		method := compress.LZ4
		if strings.EqualFold(r.URL.Query().Get("network_compression_method"), "zstd") {
			method = compress.ZSTD
		}
		blocks := compress.NewWriter(0, method)
		for part := range slices.Chunk(result, 1<<20) {
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
		if _, err := z.Write(result); err != nil {
			return err
		}
		return z.Close()
	default:
		_, err := w.Write(result)
		return err
	}
}
