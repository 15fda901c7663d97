//go:build linux

package main

import (
	"errors"
	"io"
	"regexp"
	"runtime"
	"strconv"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is libchdb, of which a process can open one. See its chdb.h for what the functions do.
type library struct {
	setSignalHandlers func(enabled int32)
	connect           func(argc int32, argv **byte) *unsafe.Pointer
	closeConn         func(conn *unsafe.Pointer)

	queryWithParams func(conn unsafe.Pointer, query *byte, queryLen int, format *byte, formatLen int,
		names **byte, nameLens *int, values **byte, valueLens *int, params int) unsafe.Pointer
	resultBuffer  func(result unsafe.Pointer) *byte
	resultLength  func(result unsafe.Pointer) int
	resultError   func(result unsafe.Pointer) *byte
	destroyResult func(result unsafe.Pointer)
	classifyQuery func(conn unsafe.Pointer, query *byte, queryLen int, database *byte, databaseLen int, analysis *[4]uint32) int32

	streamInsert func(conn unsafe.Pointer, query *byte, queryLen int, format *byte, formatLen int,
		names **byte, nameLens *int, values **byte, valueLens *int, params int) unsafe.Pointer
	streamInsertError  func(stream unsafe.Pointer) *byte
	streamAppend       func(stream unsafe.Pointer, data *byte, n int) int32
	streamDone         func(stream unsafe.Pointer) unsafe.Pointer
	streamCancelInsert func(stream unsafe.Pointer)
	destroyInsert      func(stream unsafe.Pointer)
}

// openLibrary loads libchdb.so from file.
func openLibrary(file string) (*library, error) {
	handle, err := purego.Dlopen(file, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	var lib library
	for name, function := range map[string]any{
		"chdb_set_signal_handlers_enabled": &lib.setSignalHandlers,
		"chdb_connect":                     &lib.connect,
		"chdb_close_conn":                  &lib.closeConn,
		"chdb_query_with_params_n":         &lib.queryWithParams,
		"chdb_result_buffer":               &lib.resultBuffer,
		"chdb_result_length":               &lib.resultLength,
		"chdb_result_error":                &lib.resultError,
		"chdb_destroy_query_result":        &lib.destroyResult,
		"chdb_classify_query_n":            &lib.classifyQuery,
		"chdb_stream_insert_with_params_n": &lib.streamInsert,
		"chdb_stream_insert_error":         &lib.streamInsertError,
		"chdb_stream_append":               &lib.streamAppend,
		"chdb_stream_done":                 &lib.streamDone,
		"chdb_stream_cancel_insert":        &lib.streamCancelInsert,
		"chdb_destroy_insert_stream":       &lib.destroyInsert,
	} {
		if _, err := purego.Dlsym(handle, name); err != nil {
			return nil, err
		}
		purego.RegisterLibFunc(function, handle, name)
	}
	lib.setSignalHandlers(0)
	return &lib, nil
}

// engine is a ClickHouse with its data in a folder.
type engine struct {
	lib  *library
	path string
	// boot keeps the engine running: it stops when its last session is closed.
	boot *session
}

// startEngine starts the engine of lib on the data in path, which is made if it does not exist.
func startEngine(lib *library, path string) (*engine, error) {
	e := &engine{lib: lib, path: path}
	var err error
	e.boot, err = e.session()
	return e, err
}

// session opens a session, which has settings and a current database of its own and runs one
// query at a time.
func (e *engine) session() (*session, error) {
	args := []*byte{cString("chdb"), cString("--path=" + e.path)}
	conn := e.lib.connect(int32(len(args)), &args[0])
	runtime.KeepAlive(args)
	if conn == nil || *conn == nil {
		return nil, errors.New("the engine refuses a connection: see standard error for the reason")
	}
	return &session{lib: e.lib, conn: conn}, nil
}

type session struct {
	lib  *library
	conn *unsafe.Pointer
}

func (s *session) close() { s.lib.closeConn(s.conn) }

// exec runs a statement and drops its result.
func (s *session) exec(statement string) error {
	_, err := s.query(statement, "Null", nil)
	return err
}

// query runs a statement and returns its result in a format, unless the statement has a FORMAT clause.
func (s *session) query(query, format string, params map[string]string) ([]byte, error) {
	p := newParameters(params)
	result := s.lib.queryWithParams(*s.conn, cString(query), len(query), cString(format), len(format),
		p.names(), p.nameLens(), p.values(), p.valueLens(), p.n)
	runtime.KeepAlive(p)
	defer s.lib.destroyResult(result)
	if text := s.lib.resultError(result); text != nil {
		return nil, newException(goString(text))
	}
	n := s.lib.resultLength(result)
	if n == 0 {
		return nil, nil
	}
	out := make([]byte, n)
	copy(out, unsafe.Slice(s.lib.resultBuffer(result), n))
	return out, nil
}

// statements returns how many statements a text has, or 0 if it cannot be parsed.
func (s *session) statements(text string) int {
	analysis := [4]uint32{16} // chdb_query_analysis_v1: its size, statements, flags and class
	s.lib.classifyQuery(*s.conn, cString(text), len(text), nil, 0, &analysis)
	return int(analysis[1])
}

// insert runs an INSERT without its FORMAT clause, with data in a format. If data cannot be read to
// its end, nothing of the last block is inserted, and the error is returned.
func (s *session) insert(query, format string, params map[string]string, data io.Reader) error {
	p := newParameters(params)
	stream := s.lib.streamInsert(*s.conn, cString(query), len(query), cString(format), len(format),
		p.names(), p.nameLens(), p.values(), p.valueLens(), p.n)
	runtime.KeepAlive(p)
	defer s.lib.destroyInsert(stream)
	if text := s.lib.streamInsertError(stream); text != nil {
		return newException(goString(text))
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := data.Read(buf)
		if n > 0 && s.lib.streamAppend(stream, &buf[0], n) != 0 {
			break // streamDone says why
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.lib.streamCancelInsert(stream)
			return err
		}
	}
	result := s.lib.streamDone(stream)
	defer s.lib.destroyResult(result)
	if text := s.lib.resultError(result); text != nil {
		return newException(goString(text))
	}
	return nil
}

// parameters are the values of a query's {name:Type}, as C has them.
type parameters struct {
	n     int
	texts [2][]*byte
	lens  [2][]int
}

func newParameters(params map[string]string) *parameters {
	p := &parameters{n: len(params)}
	for name, value := range params {
		for i, s := range [...]string{name, value} {
			p.texts[i] = append(p.texts[i], cString(s))
			p.lens[i] = append(p.lens[i], len(s))
		}
	}
	return p
}

func (p *parameters) names() **byte   { return unsafe.SliceData(p.texts[0]) }
func (p *parameters) nameLens() *int  { return unsafe.SliceData(p.lens[0]) }
func (p *parameters) values() **byte  { return unsafe.SliceData(p.texts[1]) }
func (p *parameters) valueLens() *int { return unsafe.SliceData(p.lens[1]) }

// exception is an error of ClickHouse.
type exception struct {
	code int // 0 if the text does not say
	text string
}

var exceptionCode = regexp.MustCompile(`Code: (\d+)\.`)

func newException(text string) *exception {
	e := &exception{text: text}
	if m := exceptionCode.FindStringSubmatch(text); m != nil {
		e.code, _ = strconv.Atoi(m[1])
	}
	return e
}

func (e *exception) Error() string { return e.text }

// cString returns a copy of s for C.
func cString(s string) *byte { return unsafe.SliceData(append([]byte(s), 0)) }

// goString copies a string of C.
func goString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
