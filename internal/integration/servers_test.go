//go:build unix

package integration

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// program returns the path of a program, or "" if it is not found. It searches PATH,
// the directories of servers, and what the patterns match, of which the last match
// comes first.
func program(name string, patterns ...string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	candidates := []string{filepath.Join("/usr/sbin", name), filepath.Join("/usr/local/sbin", name)}
	for _, p := range patterns {
		found, _ := filepath.Glob(filepath.Join(p, name))
		slices.Reverse(found)
		candidates = append(candidates, found...)
	}
	for _, path := range candidates {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// startPostgres starts a PostgreSQL server for this test and returns the URL of its
// database.
func startPostgres(t *testing.T) string {
	t.Helper()
	const folders = "/usr/lib/postgresql/*/bin"
	initdb, postgres := program("initdb", folders), program("postgres", folders)
	if initdb == "" || postgres == "" {
		testkit.Missing(t, "no PostgreSQL server: install the package postgresql (its programs initdb and postgres)")
	}
	s := newServer(t, "postgres", "nobody")
	data := filepath.Join(s.folder, "data")
	s.run(initdb, "-D", data, "-U", "dendro", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
	dsn := fmt.Sprintf("postgres://dendro:sesame@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	s.start(syscall.SIGINT, pingSQL("pgx", dsn), postgres, "-D", data, "-k", s.folder, "-h", "127.0.0.1",
		"-p", strconv.Itoa(s.port), "-F", "-c", "shared_buffers=16MB")
	return dsn
}

// startMariaDB starts a MariaDB server for this test and returns the data source name
// of its database for go-sql-driver/mysql.
func startMariaDB(t *testing.T) string {
	t.Helper()
	install, mariadbd := program("mariadb-install-db"), program("mariadbd")
	if install == "" || mariadbd == "" {
		testkit.Missing(t, "no MariaDB server: install the package mariadb-server (its programs mariadb-install-db and mariadbd)")
	}
	s := newServer(t, "mysql", "nobody")
	data := filepath.Join(s.folder, "data")
	s.run(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal")
	dsn := fmt.Sprintf("root@tcp(127.0.0.1:%d)/", s.port)
	s.start(syscall.SIGTERM, pingSQL("mysql", dsn), mariadbd, "--no-defaults", "--datadir="+data,
		"--socket="+filepath.Join(s.folder, "sock"), "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port),
		"--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0")
	return dsn + "test"
}

// server is a server that runs for one test.
type server struct {
	t      *testing.T
	folder string // everything of it
	port   int
	attr   *syscall.SysProcAttr
}

// newServer makes a directory. Database servers refuse to run as root. In this case
// the server runs as the first of users that exists.
func newServer(t *testing.T, users ...string) *server {
	t.Helper()
	s := &server{t: t}
	var err error
	if s.folder, err = os.MkdirTemp("", "dendro-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.folder) })
	if os.Getuid() == 0 {
		for _, name := range users {
			u, err := user.Lookup(name)
			if err != nil {
				continue
			}
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			if err := os.Chown(s.folder, uid, gid); err != nil {
				t.Fatal(err)
			}
			s.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
			break
		}
		if s.attr == nil {
			testkit.Missing(t, "no user to run a server as: want one of %v", users)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	return s
}

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = s.folder, s.attr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.folder, "TMPDIR=" + s.folder, "LC_ALL=C"}
	return cmd
}

func (s *server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// start starts the server and waits until ping succeeds. It stops it with the signal when the
// test ends.
func (s *server) start(stop os.Signal, ping func(context.Context) error, name string, args ...string) {
	s.t.Helper()
	var log bytes.Buffer
	cmd := s.command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	s.t.Cleanup(func() {
		cmd.Process.Signal(stop)
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		err := ping(ctx)
		if err == nil {
			return
		}
		select {
		case <-exited:
			s.t.Fatalf("%s ended: %v\n%s", name, cmd.ProcessState, log.String())
		case <-ctx.Done():
			s.t.Fatalf("%s does not answer: %v", name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pingSQL returns a ping of a database.
func pingSQL(driverName, dsn string) func(context.Context) error {
	return func(ctx context.Context) error {
		db, err := sql.Open(driverName, dsn)
		if err != nil {
			return err
		}
		defer db.Close()
		return db.PingContext(ctx)
	}
}
