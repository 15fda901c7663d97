package sqldriver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/DATA-DOG/go-sqlmock"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// mockTest is what a program expects of its mock and then does.
type mockTest struct {
	expect func(m sqlmock.Sqlmock)
	use    func(ctx context.Context, p *program)
}

// program records what it gets from its database.
type program struct {
	*sql.DB
	lines []string
	later []func() error // what it does once the expectations are checked
}

func (p *program) say(values ...any) {
	for i, v := range values {
		if err, ok := v.(error); ok {
			values[i] = fmt.Sprintf("%T %v %t", err, err, errors.Is(err, errMock))
		}
	}
	p.lines = append(p.lines, fmt.Sprint(values...))
}

var errMock = errors.New("mocked")

// told returns what the program gets from the database that open opens, and what the
// mock says about its expectations.
func (mt mockTest) told(t *testing.T, ctx context.Context, open func(dsn string) (*sql.DB, error)) []string {
	t.Helper()
	p := &program{}
	dsn := fmt.Sprintf("%s of %p", t.Name(), p)
	mocked, mock, err := sqlmock.NewWithDSN(dsn, sqlmock.MonitorPingsOption(true), sqlmock.ValueConverterOption(colors{}))
	testkit.NoError(t, err)
	defer mocked.Close()
	p.DB, err = open(dsn)
	testkit.NoError(t, err)
	defer p.Close()
	mt.expect(mock)
	mt.use(ctx, p)
	p.say("expectations: ", mock.ExpectationsWereMet())
	for _, f := range p.later {
		f()
	}
	return p.lines
}

// same fails if the program sees a difference between the wrapped and the bare driver.
// It returns what the program gets.
func (mt mockTest) same(t *testing.T) string {
	t.Helper()
	bare := mt.told(t, context.Background(), func(dsn string) (*sql.DB, error) { return sql.Open("sqlmock", dsn) })
	for _, way := range differentials() {
		ctx := context.Background()
		if l := way.library(); l.Context != nil {
			ctx = l.Context(ctx)
		}
		wrapped := mt.told(t, ctx, func(dsn string) (*sql.DB, error) {
			return Open("sqlmock", dsn, Options{Tracer: way.tracer, Roots: way.roots})
		})
		testkit.Equal(t, way.name, wrapped, bare)
		testkit.Equal(t, "open spans", way.tracer.Stats().Unfinished, uint64(0))
	}
	return strings.Join(bare, "\n")
}

// colors converts arguments of a type of the program.
type colors struct{}

type color struct{ name string }

func (colors) ConvertValue(v any) (driver.Value, error) {
	if c, ok := v.(color); ok {
		return c.name, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

const (
	mockQuery = "SELECT name FROM orders WHERE id = 1"
	mockExec  = "DELETE FROM orders WHERE id = 1"
)

func orders() *sqlmock.Rows {
	return sqlmock.NewRows([]string{"name"}).AddRow("book").AddRow("pen")
}

// names reads rows to their end.
func names(rows *sql.Rows, err error) (out []any) {
	if err != nil {
		return []any{err}
	}
	for more := true; more; more = rows.NextResultSet() {
		for rows.Next() {
			var name string
			err := rows.Scan(&name)
			out = append(out, errorOr(name, err))
		}
	}
	return append(out, errorOr("read", rows.Err()), errorOr("closed", rows.Close()))
}

func errorOr(v any, err error) any {
	if err != nil {
		return err
	}
	return v
}

// mockCalls are kinds of calls, each with its expectation.
var mockCalls = map[string]mockTest{
	"query": {
		func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT name").WillReturnRows(orders()).RowsWillBeClosed() },
		func(ctx context.Context, p *program) { p.say(names(p.QueryContext(ctx, mockQuery))...) },
	},
	"exec": {
		func(m sqlmock.Sqlmock) { m.ExpectExec("DELETE").WillReturnResult(sqlmock.NewResult(7, 1)) },
		func(ctx context.Context, p *program) {
			res, err := p.ExecContext(ctx, mockExec)
			if err != nil {
				p.say(err)
				return
			}
			id, err := res.LastInsertId()
			p.say(id, err)
			n, err := res.RowsAffected()
			p.say(n, err)
		},
	},
	"prepare": {
		func(m sqlmock.Sqlmock) {
			p := m.ExpectPrepare("SELECT name").WillBeClosed()
			p.ExpectQuery().WithArgs(1).WillReturnRows(orders())
			p.ExpectExec().WithArgs(2).WillReturnError(errMock)
		},
		func(ctx context.Context, p *program) {
			stmt, err := p.PrepareContext(ctx, mockQuery)
			if err != nil {
				p.say(err)
				return
			}
			p.say(names(stmt.QueryContext(ctx, 1))...)
			_, err = stmt.ExecContext(ctx, 2)
			p.say(err)
			p.say(stmt.Close())
		},
	},
	"begin": {
		func(m sqlmock.Sqlmock) { m.ExpectBegin() },
		func(ctx context.Context, p *program) {
			tx, err := p.BeginTx(ctx, nil)
			if p.say(err); err == nil {
				p.later = append(p.later, tx.Rollback)
			}
		},
	},
	"commit": {
		func(m sqlmock.Sqlmock) { m.ExpectBegin(); m.ExpectCommit() },
		func(ctx context.Context, p *program) {
			if tx, err := p.BeginTx(ctx, nil); err != nil {
				p.say(err)
			} else {
				p.say(tx.Commit())
			}
		},
	},
	"rollback": {
		func(m sqlmock.Sqlmock) { m.ExpectBegin(); m.ExpectRollback() },
		func(ctx context.Context, p *program) {
			if tx, err := p.BeginTx(ctx, nil); err != nil {
				p.say(err)
			} else {
				p.say(tx.Rollback())
			}
		},
	},
	"ping": {
		func(m sqlmock.Sqlmock) { m.ExpectPing() },
		func(ctx context.Context, p *program) { p.say(p.PingContext(ctx)) },
	},
	"close": {
		func(m sqlmock.Sqlmock) { m.ExpectClose() },
		func(ctx context.Context, p *program) {
			conn, err := p.Conn(ctx)
			if err != nil {
				p.say(err)
				return
			}
			p.say(conn.Close())
			p.say(p.Close())
		},
	},
	"nothing": {func(sqlmock.Sqlmock) {}, func(context.Context, *program) {}},
}

// TestSqlmockOrder makes each call where each is expected. The expectations that are
// met and the complaints of the mock are as with the bare driver.
func TestSqlmockOrder(t *testing.T) {
	const met = "expectations: <nil>"
	for expected, e := range mockCalls {
		for made, c := range mockCalls {
			t.Run(expected+" is expected, "+made+" made", func(t *testing.T) {
				said := mockTest{e.expect, c.use}.same(t)
				right := strings.HasSuffix(said, met) && !strings.Contains(said, "expected")
				if right != (expected == made) {
					t.Errorf("the bare driver says: %s", said)
				}
			})
		}
	}
	t.Run("all after another", func(t *testing.T) {
		order := []string{"ping", "query", "exec", "prepare", "commit", "rollback", "close"}
		said := mockTest{
			func(m sqlmock.Sqlmock) {
				for _, name := range order {
					mockCalls[name].expect(m)
				}
			},
			func(ctx context.Context, p *program) {
				for _, name := range order {
					mockCalls[name].use(ctx, p)
				}
			},
		}.same(t)
		if !strings.HasSuffix(said, met) {
			t.Errorf("the bare driver says: %s", said)
		}
	})
}

// TestSqlmockFeatures: the other features of a mock work as with the bare driver. The
// result with the bare driver must contain the given text.
func TestSqlmockFeatures(t *testing.T) {
	query := func(args ...any) func(context.Context, *program) {
		return func(ctx context.Context, p *program) { p.say(names(p.QueryContext(ctx, mockQuery, args...))...) }
	}
	for name, tc := range map[string]struct {
		mockTest
		text string
	}{
		"another statement": {mockTest{func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT price") }, query()}, "could not match"},
		"another argument":  {mockTest{func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WithArgs(2) }, query(1)}, "does not match"},
		"missing arguments": {mockTest{func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WithArgs(2) }, query()}, "expected 1, but got 0"},
		"named argument": {mockTest{
			func(m sqlmock.Sqlmock) {
				m.ExpectQuery("SELECT").WithArgs(sql.Named("id", 2)).WillReturnRows(orders())
			}, query(sql.Named("id", 2)),
		}, "book"},
		"converted argument": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WithArgs("red").WillReturnRows(orders()) }, query(color{"red"}),
		}, "book"},
		"no rows set": {mockTest{func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillReturnError(sql.ErrNoRows) }, query()}, "no rows"},
		"an error":    {mockTest{func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillReturnError(errMock) }, query()}, "mocked true"},
		"bad connection": {mockTest{func(m sqlmock.Sqlmock) {
			m.ExpectQuery("SELECT").WillReturnError(driver.ErrBadConn)
			m.ExpectClose()
			m.ExpectQuery("SELECT").WillReturnRows(orders())
		}, query()}, "book"},
		"an error of a row": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillReturnRows(orders().RowError(1, errMock)) }, query(),
		}, "mocked true"},
		"an error of closing rows": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillReturnRows(orders().CloseError(errMock)) },
			func(ctx context.Context, p *program) {
				rows, err := p.QueryContext(ctx, mockQuery)
				p.say(err)
				p.say(rows.Close())
			},
		}, "mocked true"},
		"result sets": {mockTest{
			func(m sqlmock.Sqlmock) {
				m.ExpectQuery("SELECT").WillReturnRows(orders(), sqlmock.NewRows([]string{"name"}).AddRow("cup"))
			}, query(),
		}, "cup"},
		"rows left open": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillReturnRows(orders()).RowsWillBeClosed() },
			func(ctx context.Context, p *program) {
				rows, err := p.QueryContext(ctx, mockQuery)
				p.say(err)
				p.later = append(p.later, rows.Close)
			},
		}, "expected query rows to be closed"},
		"statement left open": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectPrepare("SELECT").WillBeClosed() },
			func(ctx context.Context, p *program) {
				stmt, err := p.PrepareContext(ctx, mockQuery)
				p.say(err)
				p.later = append(p.later, stmt.Close)
			},
		}, "expected prepared statement to be closed"},
		"an error of closing a statement": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectBegin(); m.ExpectPrepare("SELECT").WillReturnCloseError(errMock) },
			func(ctx context.Context, p *program) {
				tx, err := p.BeginTx(ctx, nil) // elsewhere database/sql keeps it to itself
				p.say(err)
				defer tx.Rollback()
				stmt, err := tx.PrepareContext(ctx, mockQuery)
				p.say(err)
				p.say(stmt.Close())
			},
		}, "mocked true"},
		"an error of a result": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectExec("DELETE").WillReturnResult(sqlmock.NewErrorResult(errMock)) },
			mockCalls["exec"].use,
		}, "mocked true"},
		"an error of a begin": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectBegin().WillReturnError(errMock) }, mockCalls["begin"].use,
		}, "mocked true"},
		"an error of a commit": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectBegin(); m.ExpectCommit().WillReturnError(errMock) }, mockCalls["commit"].use,
		}, "mocked true"},
		"an error of a rollback": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectBegin(); m.ExpectRollback().WillReturnError(errMock) }, mockCalls["rollback"].use,
		}, "mocked true"},
		"an error of a ping": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectPing().WillReturnError(errMock) }, mockCalls["ping"].use,
		}, "mocked true"},
		"an error of closing": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectClose().WillReturnError(errMock) }, mockCalls["close"].use,
		}, "mocked true"},
		"a deadline": {mockTest{
			func(m sqlmock.Sqlmock) { m.ExpectQuery("SELECT").WillDelayFor(time.Minute).WillReturnRows(orders()) },
			func(ctx context.Context, p *program) {
				ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
				defer cancel()
				p.say(names(p.QueryContext(ctx, mockQuery))...)
			},
		}, sqlmock.ErrCancelled.Error()},
		"any order": {mockTest{
			func(m sqlmock.Sqlmock) {
				m.MatchExpectationsInOrder(false)
				for _, name := range []string{"ping", "exec", "prepare", "commit"} {
					mockCalls[name].expect(m)
				}
			},
			func(ctx context.Context, p *program) {
				for _, name := range []string{"commit", "prepare", "exec", "ping"} {
					mockCalls[name].use(ctx, p)
				}
			},
		}, "expectations: <nil>"},
		"types of columns": {mockTest{
			func(m sqlmock.Sqlmock) {
				m.ExpectQuery("SELECT").WillReturnRows(m.NewRowsWithColumnDefinition(
					m.NewColumn("name").OfType("VARCHAR", "").Nullable(true).WithLength(40),
					m.NewColumn("price").OfType("DECIMAL", 1.5).WithPrecisionAndScale(10, 4)))
			},
			func(ctx context.Context, p *program) {
				rows, err := p.QueryContext(ctx, mockQuery)
				p.say(err)
				defer rows.Close()
				types, err := rows.ColumnTypes()
				p.say(err)
				for _, c := range types {
					nullable, ok := c.Nullable()
					length, ok2 := c.Length()
					precision, scale, ok3 := c.DecimalSize()
					p.say(c.Name(), c.DatabaseTypeName(), c.ScanType(), nullable, ok, length, ok2, precision, scale, ok3)
				}
			},
		}, "DECIMAL"},
	} {
		t.Run(name, func(t *testing.T) {
			if said := tc.same(t); !strings.Contains(said, tc.text) {
				t.Errorf("the bare driver does not say %q: %s", tc.text, said)
			}
		})
	}
}
