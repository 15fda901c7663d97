package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/sqldriver/sqlxdb"
)

type item struct {
	ID    int
	Name  string
	Price sql.Null[int64]
}

var (
	book = item{1, "book", sql.Null[int64]{V: 11, Valid: true}}
	pen  = item{2, "pen", sql.Null[int64]{}}
	cup  = item{3, "cup", sql.Null[int64]{V: 33, Valid: true}}
)

const (
	insertItem = "INSERT INTO items (id, name, price) VALUES (:id, :name, :price)"
	itemNamed  = "SELECT * FROM items WHERE name = :name"
	itemByID   = "SELECT * FROM items WHERE id = ?"
	allItems   = "SELECT * FROM items ORDER BY id"
)

// sqlxCalls are the calls that sqlx adds to database/sql, with and without a context,
// what they find if the items are book and pen, and their spans.
var sqlxCalls = []struct {
	name    string
	with    func(ctx context.Context, db *sqlx.DB) (any, error)
	without func(db *sqlx.DB) (any, error)
	want    any
	spans   []string
}{
	{
		"Get, Rebind",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			var i item
			err := db.GetContext(ctx, &i, db.Rebind(itemByID), 1)
			return i, err
		},
		func(db *sqlx.DB) (any, error) {
			var i item
			err := db.Get(&i, db.Rebind(itemByID), 1)
			return i, err
		},
		book, []string{" > SELECT items: 1 returned"},
	},
	{
		"Get of nothing",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			return errors.Is(db.GetContext(ctx, &item{}, db.Rebind(itemByID), 99), sql.ErrNoRows), nil
		},
		func(db *sqlx.DB) (any, error) {
			return errors.Is(db.Get(&item{}, db.Rebind(itemByID), 99), sql.ErrNoRows), nil
		},
		true, []string{" > SELECT items: 0 returned"},
	},
	{
		"Get into the wrong type",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			return db.GetContext(ctx, new(int), "SELECT name FROM items WHERE id = 1") != nil, nil
		},
		func(db *sqlx.DB) (any, error) {
			return db.Get(new(int), "SELECT name FROM items WHERE id = 1") != nil, nil
		},
		true, []string{" > SELECT items: 1 returned"}, // no fault of the database
	},
	{
		"Select",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			var items []item
			err := db.SelectContext(ctx, &items, allItems)
			return items, err
		},
		func(db *sqlx.DB) (any, error) {
			var items []item
			err := db.Select(&items, allItems)
			return items, err
		},
		[]item{book, pen}, []string{" > SELECT items: 2 returned"},
	},
	{
		"Named, In, Rebind",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			query, args, err := namedIn(db)
			if err != nil {
				return nil, err
			}
			var names []string
			err = db.SelectContext(ctx, &names, query, args...)
			return names, err
		},
		func(db *sqlx.DB) (any, error) {
			query, args, err := namedIn(db)
			if err != nil {
				return nil, err
			}
			var names []string
			err = db.Select(&names, query, args...)
			return names, err
		},
		[]string{"book", "pen"}, []string{" > SELECT items: 2 returned"},
	},
	{
		"NamedExec of a struct",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			return affected(db.NamedExecContext(ctx, insertItem, cup))
		},
		func(db *sqlx.DB) (any, error) { return affected(db.NamedExec(insertItem, cup)) },
		int64(1), []string{" > INSERT items: 1 affected"},
	},
	{
		"NamedExec of a slice",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			return affected(db.NamedExecContext(ctx, insertItem, []item{cup, {ID: 4, Name: "tea"}}))
		},
		func(db *sqlx.DB) (any, error) {
			return affected(db.NamedExec(insertItem, []item{cup, {ID: 4, Name: "tea"}}))
		},
		int64(2), []string{" > INSERT items: 2 affected"},
	},
	{
		"NamedQuery, StructScan",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			return scan(db.NamedQueryContext(ctx, itemNamed, pen))
		},
		func(db *sqlx.DB) (any, error) { return scan(db.NamedQuery(itemNamed, pen)) },
		[]item{pen}, []string{" > SELECT items: 1 returned"},
	},
	{
		"Queryx, StructScan",
		func(ctx context.Context, db *sqlx.DB) (any, error) { return scan(db.QueryxContext(ctx, allItems)) },
		func(db *sqlx.DB) (any, error) { return scan(db.Queryx(allItems)) },
		[]item{book, pen}, []string{" > SELECT items: 2 returned"},
	},
	{
		"QueryRowx, StructScan",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			var i item
			err := db.QueryRowxContext(ctx, allItems).StructScan(&i)
			return i, err
		},
		func(db *sqlx.DB) (any, error) {
			var i item
			err := db.QueryRowx(allItems).StructScan(&i)
			return i, err
		},
		book, []string{" > SELECT items: 1 returned"},
	},
	{
		"Preparex",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			stmt, err := db.PreparexContext(ctx, db.Rebind(itemByID))
			if err != nil {
				return nil, err
			}
			defer stmt.Close()
			var i item
			var items []item
			err = errors.Join(stmt.GetContext(ctx, &i, 1), stmt.SelectContext(ctx, &items, 2))
			return append(items, i), err
		},
		func(db *sqlx.DB) (any, error) {
			stmt, err := db.Preparex(db.Rebind(itemByID))
			if err != nil {
				return nil, err
			}
			defer stmt.Close()
			var i item
			var items []item
			err = errors.Join(stmt.Get(&i, 1), stmt.Select(&items, 2))
			return append(items, i), err
		},
		[]item{pen, book},
		[]string{" > PREPARE SELECT items", " > SELECT items: 1 returned", " > SELECT items: 1 returned"},
	},
	{
		"PrepareNamed",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			stmt, err := db.PrepareNamedContext(ctx, itemNamed)
			if err != nil {
				return nil, err
			}
			defer stmt.Close()
			var i item
			err = stmt.GetContext(ctx, &i, pen)
			return i, err
		},
		func(db *sqlx.DB) (any, error) {
			stmt, err := db.PrepareNamed(itemNamed)
			if err != nil {
				return nil, err
			}
			defer stmt.Close()
			var i item
			err = stmt.Get(&i, pen)
			return i, err
		},
		pen, []string{" > PREPARE SELECT items", " > SELECT items: 1 returned"},
	},
	{
		"Beginx, Commit",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			tx, err := db.BeginTxx(ctx, nil)
			if err != nil {
				return nil, err
			}
			if _, err := tx.NamedExecContext(ctx, insertItem, cup); err != nil {
				return nil, err
			}
			stmt, err := tx.PrepareNamedContext(ctx, itemNamed)
			if err != nil {
				return nil, err
			}
			var i item
			var items []item
			err = errors.Join(stmt.GetContext(ctx, &i, cup), stmt.Close(), tx.SelectContext(ctx, &items, allItems), tx.Commit())
			return append(items, i), err
		},
		func(db *sqlx.DB) (any, error) {
			tx, err := db.Beginx()
			if err != nil {
				return nil, err
			}
			if _, err := tx.NamedExec(insertItem, cup); err != nil {
				return nil, err
			}
			stmt, err := tx.PrepareNamed(itemNamed)
			if err != nil {
				return nil, err
			}
			var i item
			var items []item
			err = errors.Join(stmt.Get(&i, cup), stmt.Close(), tx.Select(&items, allItems), tx.Commit())
			return append(items, i), err
		},
		[]item{book, pen, cup, cup},
		[]string{" > transaction: commit", "transaction > INSERT items: 1 affected", "transaction > PREPARE SELECT items",
			"transaction > SELECT items: 1 returned", "transaction > SELECT items: 3 returned"},
	},
	{
		"Beginx, Rollback",
		func(ctx context.Context, db *sqlx.DB) (any, error) {
			tx, err := db.BeginTxx(ctx, nil)
			if err != nil {
				return nil, err
			}
			tx.MustExecContext(ctx, "DELETE FROM items")
			if err := tx.Rollback(); err != nil {
				return nil, err
			}
			return scan(db.QueryxContext(ctx, allItems))
		},
		func(db *sqlx.DB) (any, error) {
			tx, err := db.Beginx()
			if err != nil {
				return nil, err
			}
			tx.MustExec("DELETE FROM items")
			if err := tx.Rollback(); err != nil {
				return nil, err
			}
			return scan(db.Queryx(allItems))
		},
		[]item{book, pen},
		[]string{" > transaction: rollback", "transaction > DELETE items: 2 affected", " > SELECT items: 2 returned"},
	},
}

func namedIn(db *sqlx.DB) (query string, args []any, err error) {
	query, args, err = sqlx.Named("SELECT name FROM items WHERE id IN (:ids) AND name <> :not ORDER BY id",
		map[string]any{"ids": []int{1, 2, 3}, "not": "cup"})
	if err != nil {
		return "", nil, err
	}
	query, args, err = sqlx.In(query, args...)
	return db.Rebind(query), args, err
}

func affected(res sql.Result, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return res.RowsAffected()
}

func scan(rows *sqlx.Rows, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var items []item
	for rows.Next() {
		var i item
		if err := rows.StructScan(&i); err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return items, rows.Err()
}

// testSqlx makes each call below a span, and without a context as a trace of its own.
func testSqlx(t *testing.T, c sqlCase, s *sqlTest) {
	roots, err := sqlxdb.Open(c.driver, c.dsn, sqldriver.Options{Tracer: s.tracer, Roots: true})
	testkit.NoError(t, err)
	defer roots.Close()
	s.db.MustExec("DROP TABLE IF EXISTS items")
	s.db.MustExec("CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, price INTEGER)")
	for _, call := range sqlxCalls {
		check := func(t *testing.T, got any, err error, spans []testkit.Span) {
			t.Helper()
			testkit.NoError(t, err)
			testkit.Equal(t, "result", got, call.want)
			names := tree(spans)
			for i, span := range spans {
				testkit.Equal(t, "status of "+span.Name, span.Status.Message, "")
				if n := span.Attr("db.response.returned_rows"); n != nil {
					names[i] += fmt.Sprintf(": %d returned", n)
				}
				if n := span.Attr("dendro.db.affected_rows"); n != nil {
					names[i] += fmt.Sprintf(": %d affected", n)
				}
				if outcome := span.Attr("dendro.db.transaction.outcome"); outcome != nil {
					names[i] += fmt.Sprintf(": %s", outcome)
				}
			}
			testkit.Equal(t, "spans", names, call.spans)
		}
		fill := func() {
			s.db.MustExec("DELETE FROM items")
			s.db.MustExec("INSERT INTO items VALUES (1, 'book', 11), (2, 'pen', NULL)")
		}
		t.Run(call.name, func(t *testing.T) {
			fill()
			var got any
			var err error
			spans := s.request(t, func(ctx context.Context) { got, err = call.with(ctx, s.db) })
			check(t, got, err, spans)
		})
		t.Run(call.name+" without a context", func(t *testing.T) {
			fill()
			s.recorder.Reset()
			got, err := call.without(s.db)
			testkit.NoError(t, err)
			testkit.Equal(t, "result", got, call.want)
			testkit.Equal(t, "spans", testkit.Names(s.recorder.Spans()), []string{})
			fill()
			got, err = call.without(roots)
			check(t, got, err, s.recorder.Spans())
		})
	}
}
