package clickhousestore

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// The statements that make the tables, in the order of their names. The first three are those of
// OpenTelemetry's exporter for ClickHouse.
//
//go:embed schema/*.sql
var schemaFiles embed.FS

// tables says which tables there are, and what they have.
type tables struct {
	database, name string
	hasIDs         bool // there is a table with the times of traces
	ours           bool // there are the columns of this package
	hasItems       bool // there are columns with pairs of keys and values, which have indexes
	counts         bool // there are the tables with counts
	marks          bool // the views leave out spans that their process has counted
	written        []writtenColumn
}

// suffixes of the names of tables.
const (
	suffixIDs        = "_trace_id_ts"
	suffixOperations = "_operations"
	suffixEdges      = "_edges"
	suffixCalls      = "_calls"   // what clients say of calls between services
	suffixAnswers    = "_answers" // what servers do
	suffixCounted    = "_counted" // what is counted of a span; the table has no rows
	suffixView       = "_mv"      // of the view that fills a table
	suffixLocal      = "_local"   // of a table of one machine of a cluster
)

// countSuffixes are those of the tables with counts, and otherSuffixes those of all tables but that of the spans.
var (
	countSuffixes = []string{suffixOperations, suffixEdges, suffixCalls, suffixAnswers}
	otherSuffixes = append([]string{suffixIDs}, countSuffixes...)
)

func (t *tables) of(suffix string) string { return quoted(t.database) + "." + quoted(t.name+suffix) }

// traces returns the table of the spans, and traceIDs that of the times of traces.
func (t *tables) traces() string   { return t.of("") }
func (t *tables) traceIDs() string { return t.of(suffixIDs) }

// insert returns the statement that writes spans.
func (t *tables) insert() string {
	var names []string
	for _, c := range t.written {
		names = append(names, c.name)
	}
	return "INSERT INTO " + t.traces() + " (" + strings.Join(names, ", ") + ")"
}

// Schema returns the statements with which [Open] makes the tables in a database.
func Schema(database string, o Options) []string {
	if o.Table == "" {
		o.Table = defaultTable
	}
	t := tables{database: database, name: o.Table}
	local, engine, onCluster := "", "", ""
	if o.Cluster != "" {
		local, engine, onCluster = suffixLocal, "Replicated", " ON CLUSTER "+quoted(o.Cluster)
	}
	pairs := []string{"{{engine}}", engine + "MergeTree", "{{aggregating_engine}}", engine + "AggregatingMergeTree", " {{on_cluster}}", onCluster}
	pairs = append(pairs, "{{counted}}", t.of(suffixCounted), "{{counted_mv}}", t.of(suffixCounted+suffixView))
	for _, suffix := range append([]string{""}, otherSuffixes...) {
		placeholder := cmp.Or(strings.TrimPrefix(suffix, "_"), "traces")
		pairs = append(pairs, "{{"+placeholder+"}}", t.of(suffix+local), "{{distributed_"+placeholder+"}}", t.of(suffix), "{{"+placeholder+"_mv}}", t.of(suffix+suffixView),
			"{{shards_"+placeholder+"}}", quoted(o.Cluster)+", "+quoted(database)+", "+quoted(t.name+suffix+local))
	}
	for placeholder, column := range map[string]string{"ttl_timestamp": "Timestamp", "ttl_start": "Start", "ttl_minute": "Minute"} {
		ttl := ""
		if o.Retention > 0 {
			ttl = fmt.Sprintf("TTL toDateTime(%s) + toIntervalHour(%d)", column, (o.Retention+time.Hour-1)/time.Hour)
		}
		pairs = append(pairs, "{{"+placeholder+"}}", ttl)
	}
	replacer := strings.NewReplacer(pairs...)
	var out []string
	names, _ := fs.Glob(schemaFiles, "schema/*.sql")
	for _, name := range names {
		if o.ExporterSchema && strings.HasSuffix(name, "columns.sql") || o.Cluster == "" && strings.HasSuffix(name, "cluster.sql") {
			continue
		}
		text, _ := schemaFiles.ReadFile(name)
		for statement := range strings.SplitSeq(strings.TrimSpace(replacer.Replace(string(text))), ";\n") {
			lines := slices.DeleteFunc(strings.Split(statement, "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
			for i, line := range lines {
				lines[i] = strings.TrimRight(line, " ")
			}
			out = append(out, strings.Join(lines, "\n"))
		}
	}
	return out
}

// openTables makes the tables that are not there, and finds out what they have.
func (s *Store) openTables(ctx context.Context, database string) error {
	s.t = tables{database: database, name: s.o.Table}
	if !s.o.ExistingTables {
		for _, statement := range Schema(database, s.o) {
			if err := s.conn.Exec(ctx, statement); err != nil {
				first, _, _ := strings.Cut(statement, "\n")
				return fmt.Errorf("%s: %w", strings.TrimRight(first, " ("), err)
			}
		}
	}
	var p params
	var columns []string
	tablesWith := map[string]bool{}
	names := []string{s.o.Table, s.o.Table + suffixCounted}
	for _, suffix := range otherSuffixes {
		names = append(names, s.o.Table+suffix)
	}
	err := s.each(ctx, `SELECT table, name FROM system.columns WHERE database = `+p.text(database)+` AND table IN `+p.texts(names), p, func(rows driver.Rows) error {
		var table, name string
		err := rows.Scan(&table, &name)
		tablesWith[table] = true
		if table == s.o.Table {
			columns = append(columns, name)
		}
		s.t.marks = s.t.marks || table == s.o.Table+suffixCounted && name == "IsLate"
		return err
	})
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		return fmt.Errorf("there is no table %s in the database %s", s.o.Table, database)
	}
	absent := func(c writtenColumn) bool { return !slices.Contains(columns, c.name) }
	if i := slices.IndexFunc(exporterColumns, absent); i >= 0 {
		return fmt.Errorf("the table %s has no column %s, as OpenTelemetry's exporter for ClickHouse makes it", s.o.Table, exporterColumns[i].name)
	}
	var pairs uint64
	p = nil
	err = s.row(ctx, "SELECT count() FROM system.data_skipping_indices WHERE database = "+p.text(database)+" AND table = "+p.text(s.o.Table)+" AND name = 'idx_span_attr_items'", p, &pairs)
	if err != nil {
		return err
	}
	s.t.hasItems = pairs > 0
	s.t.hasIDs = tablesWith[s.o.Table+suffixIDs]
	s.t.counts = !slices.ContainsFunc(countSuffixes, func(suffix string) bool { return !tablesWith[s.o.Table+suffix] })
	s.t.ours = !slices.ContainsFunc(ourColumns, absent)
	s.t.written = exporterColumns
	if s.t.ours && !s.o.ExporterSchema {
		s.t.written = slices.Concat(exporterColumns, ourColumns)
	}
	return nil
}
