package sqlxdb

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro/sqldriver"
)

// DB is a [sqlx.DB] whose spans include the wait for a connection, like those of
// [sqldriver.DB]. Methods without a context are those of the sqlx.DB.
type DB struct{ *sqlx.DB }

// NewDB returns a DB for db, which must be a result of [Open], or opened by sqlx under a
// name that [sqldriver.Register] returned.
func NewDB(db *sqlx.DB) *DB { return &DB{db} }

// timed calls f with a context that measures the wait for a connection.
func timed[T any](ctx context.Context, db *DB, query string, f func(context.Context) (T, error)) (T, error) {
	ctx = sqldriver.WithPoolWait(ctx, db.DB.DB)
	v, err := f(ctx)
	sqldriver.PoolWaitFailed(ctx, query, err)
	return v, err
}

// timedError is timed for a function that only returns an error.
func timedError(ctx context.Context, db *DB, query string, f func(context.Context) error) error {
	_, err := timed(ctx, db, query, func(ctx context.Context) (struct{}, error) { return struct{}{}, f(ctx) })
	return err
}

// GetContext is [sqlx.DB.GetContext].
func (db *DB) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	return timedError(ctx, db, query, func(ctx context.Context) error { return db.DB.GetContext(ctx, dest, query, args...) })
}

// SelectContext is [sqlx.DB.SelectContext].
func (db *DB) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	return timedError(ctx, db, query, func(ctx context.Context) error { return db.DB.SelectContext(ctx, dest, query, args...) })
}

// ExecContext is [sql.DB.ExecContext].
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return timed(ctx, db, query, func(ctx context.Context) (sql.Result, error) { return db.DB.ExecContext(ctx, query, args...) })
}

// NamedExecContext is [sqlx.DB.NamedExecContext].
func (db *DB) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	return timed(ctx, db, query, func(ctx context.Context) (sql.Result, error) { return db.DB.NamedExecContext(ctx, query, arg) })
}

// MustExecContext is [sqlx.DB.MustExecContext].
func (db *DB) MustExecContext(ctx context.Context, query string, args ...any) sql.Result {
	res, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		panic(err)
	}
	return res
}

// QueryContext is [sql.DB.QueryContext].
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sql.Rows, error) { return db.DB.QueryContext(ctx, query, args...) })
}

// QueryxContext is [sqlx.DB.QueryxContext].
func (db *DB) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sqlx.Rows, error) { return db.DB.QueryxContext(ctx, query, args...) })
}

// NamedQueryContext is [sqlx.DB.NamedQueryContext].
func (db *DB) NamedQueryContext(ctx context.Context, query string, arg any) (*sqlx.Rows, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sqlx.Rows, error) { return db.DB.NamedQueryContext(ctx, query, arg) })
}

// QueryRowContext is [sql.DB.QueryRowContext].
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	row, _ := timed(ctx, db, query, func(ctx context.Context) (*sql.Row, error) {
		row := db.DB.QueryRowContext(ctx, query, args...)
		return row, row.Err()
	})
	return row
}

// QueryRowxContext is [sqlx.DB.QueryRowxContext].
func (db *DB) QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row {
	row, _ := timed(ctx, db, query, func(ctx context.Context) (*sqlx.Row, error) {
		row := db.DB.QueryRowxContext(ctx, query, args...)
		return row, row.Err()
	})
	return row
}

// PrepareContext is [sql.DB.PrepareContext].
func (db *DB) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sql.Stmt, error) { return db.DB.PrepareContext(ctx, query) })
}

// PreparexContext is [sqlx.DB.PreparexContext].
func (db *DB) PreparexContext(ctx context.Context, query string) (*sqlx.Stmt, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sqlx.Stmt, error) { return db.DB.PreparexContext(ctx, query) })
}

// PrepareNamedContext is [sqlx.DB.PrepareNamedContext].
func (db *DB) PrepareNamedContext(ctx context.Context, query string) (*sqlx.NamedStmt, error) {
	return timed(ctx, db, query, func(ctx context.Context) (*sqlx.NamedStmt, error) { return db.DB.PrepareNamedContext(ctx, query) })
}

// BeginTx is [sql.DB.BeginTx].
func (db *DB) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	return timed(ctx, db, "BEGIN", func(ctx context.Context) (*sql.Tx, error) { return db.DB.BeginTx(ctx, opts) })
}

// BeginTxx is [sqlx.DB.BeginTxx].
func (db *DB) BeginTxx(ctx context.Context, opts *sql.TxOptions) (*sqlx.Tx, error) {
	return timed(ctx, db, "BEGIN", func(ctx context.Context) (*sqlx.Tx, error) { return db.DB.BeginTxx(ctx, opts) })
}

// MustBeginTx is [sqlx.DB.MustBeginTx].
func (db *DB) MustBeginTx(ctx context.Context, opts *sql.TxOptions) *sqlx.Tx {
	tx, err := db.BeginTxx(ctx, opts)
	if err != nil {
		panic(err)
	}
	return tx
}

// Conn is [sql.DB.Conn].
func (db *DB) Conn(ctx context.Context) (*sql.Conn, error) {
	return timed(ctx, db, "", db.DB.Conn)
}

// Connx is [sqlx.DB.Connx].
func (db *DB) Connx(ctx context.Context) (*sqlx.Conn, error) {
	return timed(ctx, db, "", db.DB.Connx)
}

// PingContext is [sql.DB.PingContext].
func (db *DB) PingContext(ctx context.Context) error {
	return timedError(ctx, db, "", db.DB.PingContext)
}
