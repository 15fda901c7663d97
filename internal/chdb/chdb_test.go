//go:build linux

package main

import (
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// open connects to a database with clickhouse-go.
func open(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	opts, err := clickhouse.ParseDSN(dsn)
	testkit.NoError(t, err)
	conn, err := clickhouse.Open(opts)
	testkit.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestFirst(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	ctx := t.Context()
	testkit.NoError(t, conn.Ping(ctx))
	testkit.NoError(t, conn.Exec(ctx, `CREATE TABLE t (a UInt64, m Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY a`))
	batch, err := conn.PrepareBatch(ctx, `INSERT INTO t`)
	testkit.NoError(t, err)
	testkit.NoError(t, batch.Append(uint64(1), map[string]string{"k": "v"}))
	testkit.NoError(t, batch.Send())
	var m map[string]string
	testkit.NoError(t, conn.QueryRow(ctx, `SELECT m FROM t WHERE a = ?`, 1).Scan(&m))
	testkit.Equal(t, "m", m, map[string]string{"k": "v"})
}
