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
	"testing"
)

// ClickHouseServer is a ClickHouse with the HTTP interface, on loopback. It is the program in
// internal/chdb, whose README says what differs from a server.
type ClickHouseServer struct {
	dir   string // "" is a temporary one, which the program removes at its end
	addr  string
	cmd   *exec.Cmd      // nil if it does not run
	stdin io.WriteCloser // the program ends when this is closed, and so when the process of the test ends
}

// ClickHouse starts a server for a test, which may kill it, and stops it when the test ends. Without the
// library that npm ci installs in internal/chdb the test is skipped, or fails with DENDRO_REQUIRE_ALL=1.
func ClickHouse(t testing.TB) *ClickHouseServer {
	t.Helper()
	s := &ClickHouseServer{dir: t.TempDir(), addr: "127.0.0.1:0"}
	s.Start(t)
	t.Cleanup(func() {
		if s.cmd != nil {
			NoError(t, s.stdin.Close())
			NoError(t, s.wait())
		}
	})
	return s
}

// ClickHouseDatabase makes a database for a test, drops it when the test ends, and returns its DSN, a URL
// that clickhouse-go takes. The server is that of the URL in DENDRO_CLICKHOUSE_DSN, such as
// https://user:password@host:8443, or else one as of [ClickHouse] that all tests of the process share. If that URL has
// the parameter native, such as ?native=host:9000, the DSN is of ClickHouse's own protocol at that address.
func ClickHouseDatabase(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv("DENDRO_CLICKHOUSE_DSN"); dsn != "" {
		return clickHouseDatabase(t, dsn, func() bool { return true })
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

// DSN returns the DSN of the server's database "default".
func (s *ClickHouseServer) DSN() string { return "http://" + s.addr + "/default" }

// Database makes a database for a test, drops it when the test ends, and returns its DSN.
func (s *ClickHouseServer) Database(t testing.TB) string {
	t.Helper()
	return clickHouseDatabase(t, s.DSN(), func() bool { return s.cmd != nil })
}

// Kill ends the server with SIGKILL.
func (s *ClickHouseServer) Kill(t testing.TB) {
	t.Helper()
	NoError(t, s.cmd.Process.Kill())
	_ = s.wait() // that it was killed
}

// Start starts the server again after [ClickHouseServer.Kill], at the same address and with the data that
// it had stored.
func (s *ClickHouseServer) Start(t testing.TB) {
	t.Helper()
	library := filepath.Join(clickHouseFolder(), "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so")
	if _, err := os.Stat(library); err != nil {
		Missing(t, "ClickHouse is not installed (npm ci in internal/chdb, on linux/amd64 with glibc): %v", err)
	}
	program, err := clickHouseProgram()
	NoError(t, err)
	cmd := exec.Command(program, "-addr", s.addr, "-path", s.dir, "-lib", library, "-stdin")
	cmd.Stderr = os.Stderr
	s.stdin, err = cmd.StdinPipe()
	NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	NoError(t, err)
	NoError(t, cmd.Start())
	s.cmd = cmd
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("ClickHouse does not start: %v", s.wait())
	}
	s.addr = strings.TrimSpace(line)
}

// wait waits until the program ends.
func (s *ClickHouseServer) wait() error {
	err := s.cmd.Wait()
	s.cmd = nil
	return err
}

// clickHouseFolder returns internal/chdb.
func clickHouseFolder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../chdb")
}

// clickHouseProgram builds the program and returns its path, which is in Go's build cache.
var clickHouseProgram = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-n", "chdb")
	cmd.Dir = clickHouseFolder()
	cmd.Env = append(cmd.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v in %s: %w\n%s", cmd, cmd.Dir, err, stderr.Bytes())
	}
	return strings.TrimSpace(string(path)), nil
})

var clickHouseDatabases atomic.Int64

// clickHouseDatabase makes a database on the server of a DSN, and drops it when the test ends if the
// server runs.
func clickHouseDatabase(t testing.TB, dsn string, runs func() bool) string {
	t.Helper()
	server, err := url.Parse(dsn)
	NoError(t, err)
	native := server.Query().Get("native")
	server.Path, server.RawQuery = "/", ""
	name := fmt.Sprintf("dendro_%d_%d", os.Getpid(), clickHouseDatabases.Add(1))
	clickHouseQuery(t, server, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		if runs() {
			clickHouseQuery(t, server, "DROP DATABASE "+name)
		}
	})
	if native != "" {
		return (&url.URL{Scheme: "clickhouse", User: server.User, Host: native, Path: name}).String()
	}
	return server.JoinPath(name).String()
}

// clickHouseQuery runs a statement that returns nothing.
func clickHouseQuery(t testing.TB, server *url.URL, query string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(server.String(), "text/plain", strings.NewReader(query))
	NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	NoError(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", query, resp.Status, body)
	}
}
