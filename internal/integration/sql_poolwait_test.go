package integration

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

// Every method of sqlxdb.DB that needs a connection records how long it waited for the
// only one, and that it did not get it.
func TestSqlxPoolWait(t *testing.T) {
	const query = "SELECT 1 AS id"
	named := map[string]any{"id": 1}
	calls := map[string]func(ctx context.Context, db *sqlxdb.DB) error{
		"Get":    func(ctx context.Context, db *sqlxdb.DB) error { var n int; return db.GetContext(ctx, &n, query) },
		"Select": func(ctx context.Context, db *sqlxdb.DB) error { var n []int; return db.SelectContext(ctx, &n, query) },
		"Exec":   func(ctx context.Context, db *sqlxdb.DB) error { _, err := db.ExecContext(ctx, query); return err },
		"NamedExec": func(ctx context.Context, db *sqlxdb.DB) error {
			_, err := db.NamedExecContext(ctx, "SELECT :id", named)
			return err
		},
		"MustExec": func(ctx context.Context, db *sqlxdb.DB) (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = p.(error)
				}
			}()
			db.MustExecContext(ctx, query)
			return nil
		},
		"Query":  func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.QueryContext(ctx, query)) },
		"Queryx": func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.QueryxContext(ctx, query)) },
		"NamedQuery": func(ctx context.Context, db *sqlxdb.DB) error {
			return closed(db.NamedQueryContext(ctx, "SELECT :id", named))
		},
		"QueryRow":  func(ctx context.Context, db *sqlxdb.DB) error { return db.QueryRowContext(ctx, query).Scan(new(int)) },
		"QueryRowx": func(ctx context.Context, db *sqlxdb.DB) error { return db.QueryRowxContext(ctx, query).Scan(new(int)) },
		"Prepare":   func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.PrepareContext(ctx, query)) },
		"Preparex":  func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.PreparexContext(ctx, query)) },
		"PrepareNamed": func(ctx context.Context, db *sqlxdb.DB) error {
			return closed(db.PrepareNamedContext(ctx, "SELECT :id"))
		},
		"BeginTx": func(ctx context.Context, db *sqlxdb.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err == nil {
				err = tx.Rollback()
			}
			return err
		},
		"BeginTxx": func(ctx context.Context, db *sqlxdb.DB) error {
			tx, err := db.BeginTxx(ctx, nil)
			if err == nil {
				err = tx.Rollback()
			}
			return err
		},
		"MustBegin": func(ctx context.Context, db *sqlxdb.DB) (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = p.(error)
				}
			}()
			return db.MustBeginTx(ctx, nil).Rollback()
		},
	}
	// These have no span of their own if they get a connection.
	silent := map[string]func(ctx context.Context, db *sqlxdb.DB) error{
		"Conn":  func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.Conn(ctx)) },
		"Connx": func(ctx context.Context, db *sqlxdb.DB) error { return closed(db.Connx(ctx)) },
		"Ping":  func(ctx context.Context, db *sqlxdb.DB) error { return db.PingContext(ctx) },
	}
	tracer, recorder := testkit.NewTracer(t)
	pool, err := sqlxdb.Open("sqlite", filepath.Join(t.TempDir(), "wait.db"), sqldriver.Options{Tracer: tracer})
	testkit.NoError(t, err)
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	db := sqlxdb.NewDB(pool)
	s := &sqlTest{tracer: tracer, recorder: recorder}
	busy := func(name string, call func(context.Context, *sqlxdb.DB) error) {
		conn, err := pool.Conn(context.Background())
		testkit.NoError(t, err)
		spans := s.request(t, func(ctx context.Context) {
			short, cancel := context.WithTimeout(ctx, 2*time.Millisecond)
			defer cancel()
			err := call(short, db)
			testkit.Equal(t, name+": gives up", errors.Is(err, context.DeadlineExceeded), true)
		})
		testkit.NoError(t, conn.Close())
		if len(spans) != 1 || spans[0].Event("pool wait") == nil {
			t.Errorf("%s: spans of a call without a connection: %v", name, testkit.Names(spans))
		}
	}
	for name, call := range calls {
		busy(name, call)
		spans := s.request(t, func(ctx context.Context) {
			conn, err := pool.Conn(context.Background())
			testkit.NoError(t, err)
			before := pool.Stats().WaitCount
			go func() {
				for pool.Stats().WaitCount == before {
					time.Sleep(100 * time.Microsecond)
				}
				time.Sleep(time.Millisecond)
				conn.Close()
			}()
			if err := call(ctx, db); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if len(spans) == 0 || spans[0].Event("pool wait") == nil {
			t.Errorf("%s: no wait on %v", name, testkit.Names(spans))
		}
	}
	for name, call := range silent {
		busy(name, call)
		spans := s.request(t, func(ctx context.Context) { testkit.NoError(t, call(ctx, db)) })
		testkit.Equal(t, name, testkit.Names(spans), []string{})
	}
}

func closed[T interface{ Close() error }](v T, err error) error {
	if err != nil {
		return err
	}
	return v.Close()
}
