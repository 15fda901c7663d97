package testkit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// ClickHouseServer is a server that a test started. Its data survives [ClickHouseServer.Kill].
type ClickHouseServer struct {
	dir  string // "" is a temporary one that the server removes
	addr string
	cmd  *exec.Cmd
	// The server stops when this is closed, and so does not outlive the process of the test.
	stdin io.Closer
}

// ClickHouse starts a server for a test and stops it when the test ends. The test is skipped, or
// with DENDRO_REQUIRE_ALL=1 fails, if internal/chdb is not installed. A test that needs no more than a
// database calls [ClickHouseDatabase].
func ClickHouse(t testing.TB) *ClickHouseServer {
	t.Helper()
	s := &ClickHouseServer{dir: t.TempDir(), addr: "127.0.0.1:0"}
	s.Start(t)
	t.Cleanup(func() {
		if s.cmd != nil {
			NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
			NoError(t, s.wait())
		}
	})
	return s
}

// ClickHouseDatabase makes a database for a test, drops it when the test ends, and returns its DSN
// as of [ClickHouseServer.DSN]. The server is that of the variable DENDRO_CLICKHOUSE_DSN,
// https://user:password@host:8443 or the like, or else one that all tests of the process share.
func ClickHouseDatabase(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv("DENDRO_CLICKHOUSE_DSN"); dsn != "" {
		return clickhouseDatabase(t, dsn)
	}
	sharedClickHouse.Lock()
	defer sharedClickHouse.Unlock()
	if sharedClickHouse.server == nil {
		s := &ClickHouseServer{addr: "127.0.0.1:0"}
		s.Start(t)
		sharedClickHouse.server = s
	}
	return sharedClickHouse.server.Database(t)
}

var sharedClickHouse struct {
	sync.Mutex
	server *ClickHouseServer // nil before its start
}

var databases atomic.Int64

// DSN returns the URL of the server's database "default" for clickhouse-go, which uses HTTP.
func (s *ClickHouseServer) DSN() string { return "http://" + s.addr + "/default" }

// Database makes a database for a test, drops it when the test ends, and returns its DSN.
func (s *ClickHouseServer) Database(t testing.TB) string {
	t.Helper()
	return clickhouseDatabase(t, s.DSN())
}

// Start starts the server again after [ClickHouseServer.Kill], with the same data at the same address.
func (s *ClickHouseServer) Start(t testing.TB) {
	t.Helper()
	folder := clickhouseFolder()
	program, err := clickhouseProgram()
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(folder, "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so")
	if _, err := os.Stat(library); err != nil {
		Missing(t, "no ClickHouse server: run npm ci in internal/chdb (%v)", err)
	}
	s.cmd = exec.Command(program, "-addr", s.addr, "-lib", library, "-path", s.dir, "-stdin")
	s.cmd.Stderr = os.Stderr
	s.stdin, err = s.cmd.StdinPipe()
	NoError(t, err)
	stdout, err := s.cmd.StdoutPipe()
	NoError(t, err)
	NoError(t, s.cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("chdb does not start: %v", s.wait())
	}
	s.addr = strings.TrimSpace(line)
}

// Kill ends the server at once, as the kernel does when it runs out of memory.
func (s *ClickHouseServer) Kill(t testing.TB) {
	t.Helper()
	NoError(t, s.cmd.Process.Kill())
	s.wait()
}

func (s *ClickHouseServer) wait() error {
	err := s.cmd.Wait()
	s.cmd = nil
	return err
}

// clickhouseFolder returns the folder internal/chdb.
func clickhouseFolder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../chdb")
}

// clickhouseProgram builds the program of internal/chdb and returns its path in Go's build cache.
var clickhouseProgram = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "chdb")
	cmd.Dir = clickhouseFolder()
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build internal/chdb: %v: %s", err, &stderr)
	}
	return strings.TrimSpace(string(path)), nil
})

// clickhouseDatabase makes a database on the server of a DSN.
func clickhouseDatabase(t testing.TB, dsn string) string {
	t.Helper()
	server, err := url.Parse(dsn)
	NoError(t, err)
	server.Path = "/"
	name := fmt.Sprintf("test_%d_%d", os.Getpid(), databases.Add(1))
	clickhouseQuery(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() { clickhouseQuery(t, server, "DROP DATABASE "+name) })
	return server.JoinPath(name).String()
}

// clickhouseQuery runs a statement.
func clickhouseQuery(t testing.TB, server *url.URL, query string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(server.String(), "text/plain", strings.NewReader(query))
	NoError(t, err)
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
		t.Errorf("%s: %s %s %v", query, resp.Status, body, err)
	}
}
