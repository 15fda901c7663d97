package clickhousestore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// params are the parameters of a query, which ClickHouse binds: no value becomes a part of the text of a
// query. Each method adds one and returns its place in the text.
type params []any

func (p *params) add(value any, typ string) string {
	name := fmt.Sprint("p", len(*p))
	*p = append(*p, clickhouse.Named(name, value))
	return "{" + name + ":" + typ + "}"
}

func (p *params) text(s string) string    { return p.add(s, "String") }
func (p *params) texts(s []string) string { return p.add(s, "Array(String)") }
func (p *params) int(n int64) string      { return p.add(n, "Int64") }

// time returns the place of a time, in nanoseconds since the Unix epoch.
func (p *params) time(nanos int64) string { return "fromUnixTimestamp64Nano(" + p.int(nanos) + ")" }

// row runs a query with one row.
func (s *Store) row(ctx context.Context, text string, p params, dest ...any) error {
	return s.each(ctx, text, p, func(rows driver.Rows) error { return rows.Scan(dest...) })
}

// errStop is what the function that visits rows returns when it wants no more.
var errStop = errors.New("stop")

// each runs a query that reads, within the bounds of the options, and calls visit with each row until it returns an
// error. When ctx is done, the query ends in ClickHouse, too.
func (s *Store) each(ctx context.Context, text string, p params, visit func(driver.Rows) error) error {
	return s.eachOn(ctx, s.conn, text, p, visit)
}

// eachOn is each on given connections.
func (s *Store) eachOn(ctx context.Context, conn driver.Conn, text string, p params, visit func(driver.Rows) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends what is left of the query
	rows, err := conn.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_execution_time":                           int(max(1, math.Ceil(s.o.MaxQueryTime.Seconds()))),
		"max_memory_usage":                             s.o.MaxQueryMemory,
		"cancel_http_readonly_queries_on_client_close": 1,
		// A subquery reads all machines of a cluster, however the spans are distributed.
		"distributed_product_mode": "global",
	})), text, p...)
	if err != nil {
		return queryError(ctx, err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what matters
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(rows); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return queryError(ctx, err)
		}
	}
	return queryError(ctx, rows.Err())
}

// queryError returns err, or the error of ctx if that is why there is one.
func queryError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("clickhousestore: %w", err)
}

// quoted returns a name as an identifier of SQL.
func quoted(name string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(name) + "`"
}
