package sqldriver

import (
	"context"
	"database/sql/driver"
	"errors"
)

// The methods in this file call the driver's method with a context if there is one.
// Otherwise they do what database/sql does with the method without a context
// (ctxutil.go), including the same errors.

func (c *conn) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	if c.prepareCtx != nil {
		return c.prepareCtx.PrepareContext(ctx, query)
	}
	stmt, err := c.bare.Prepare(query)
	if err == nil && ctx.Err() != nil {
		_ = stmt.Close()
		return nil, ctx.Err()
	}
	return stmt, err
}

func (c *conn) beginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.beginCtx != nil {
		return c.beginCtx.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	tx, err := c.bare.Begin() //nolint:staticcheck // the driver has no other
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.execCtx != nil {
		return c.execCtx.ExecContext(ctx, query, args)
	}
	values, err := plainValues(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.execOld.Exec(query, values)
}

func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.queryCtx != nil {
		return c.queryCtx.QueryContext(ctx, query, args)
	}
	values, err := plainValues(ctx, args)
	if err != nil {
		return nil, err
	}
	return c.queryOld.Query(query, values)
}

func (s *stmt) exec(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if s.execCtx != nil {
		return s.execCtx.ExecContext(ctx, args)
	}
	values, err := plainValues(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.bare.Exec(values) //nolint:staticcheck // the driver has no other
}

func (s *stmt) query(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if s.queryCtx != nil {
		return s.queryCtx.QueryContext(ctx, args)
	}
	values, err := plainValues(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.bare.Query(values) //nolint:staticcheck // the driver has no other
}

// plainValues returns args for a method that supports neither names nor contexts.
func plainValues(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}
