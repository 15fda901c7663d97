package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

// schema returns what "dendro clickhouse schema" prints, in statements.
func schema(t *testing.T, args ...string) (text string, statements []string) {
	t.Helper()
	var stdout bytes.Buffer
	testkit.Equal(t, "exit code", run(t.Context(), append([]string{"clickhouse", "schema"}, args...), &stdout, t.Output()), exitOK)
	text = stdout.String()
	return text, strings.Split(strings.TrimSuffix(text, ";\n\n"), ";\n\n")
}

func TestClickHouseSchema(t *testing.T) {
	for name, args := range map[string][]string{
		"clickhouse":          {"-database", "otel"},
		"clickhouse-exporter": {"-database", "otel", "-tables", "exporter", "-retention", "720h"},
		"clickhouse-cluster":  {"-database", "otel", "-cluster", "main"},
	} {
		text, _ := schema(t, args...)
		testkit.Golden(t, "testdata/"+name+".sql", text)
	}
}

// ClickHouse takes the statements, also twice. It can only parse those for a cluster, which the tests do not have.
func TestClickHouseTakesSchema(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	database := dsn[strings.LastIndexByte(dsn, '/')+1:]
	_, statements := schema(t, "-database", database, "-retention", "1m")
	for range 2 {
		for _, statement := range statements {
			sql(t, dsn, statement)
		}
	}
	if create := sql(t, dsn, "SHOW CREATE TABLE otel_traces"); !strings.Contains(create, "TTL toDateTime(Timestamp) + toIntervalHour(1)") {
		t.Errorf("the table is %s", create)
	}
	_, statements = schema(t, "-database", database, "-cluster", "main")
	for _, statement := range statements {
		sql(t, dsn, "EXPLAIN AST "+statement)
	}
}
