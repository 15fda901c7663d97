package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dendrotrace/dendro/collector/clickhousestore"
)

// tableOptions are the flags for tables in ClickHouse.
type tableOptions struct {
	kind      tablesFlag
	cluster   string
	retention time.Duration
}

// flags adds the flags, whose names begin with a prefix.
func (o *tableOptions) flags(flags *flag.FlagSet, prefix string) {
	o.kind = tablesDendro
	flags.Var(&o.kind, prefix+"tables", "`which` tables ClickHouse has: dendro, those of OpenTelemetry's exporter with columns that keep what it loses; exporter, without these columns; existing, as somebody else has made them. The former two are made if they are not there")
	flags.StringVar(&o.cluster, prefix+"cluster", "", "`name` of the cluster in ClickHouse on whose machines tables are made, replicated and distributed; \"\": on the server")
	flags.DurationVar(&o.retention, "retention", 0, "`time` for which ClickHouse keeps spans, such as 720h, in tables that are made; 0: forever. Those that are there keep theirs")
}

// check returns an error if options do not fit together.
func (o *tableOptions) check() error {
	switch {
	case o.retention < 0:
		return fmt.Errorf("-retention %v: want zero or more", o.retention)
	case o.retention > 0 && o.kind == tablesExisting:
		return errors.New("-retention is for tables that are made: those that are there keep theirs")
	}
	return nil
}

// options returns the options of a store with such tables.
func (o *tableOptions) options() clickhousestore.Options {
	return clickhousestore.Options{
		Cluster: o.cluster, Retention: o.retention,
		ExporterSchema: o.kind == tablesExporter, ExistingTables: o.kind == tablesExisting,
	}
}

// tablesFlag says which tables there are.
type tablesFlag string

const (
	tablesDendro   = "dendro"
	tablesExporter = "exporter"
	tablesExisting = "existing"
)

// String returns the name of f.
func (f *tablesFlag) String() string { return string(*f) }

// Set implements [flag.Value].
func (f *tablesFlag) Set(text string) error {
	if !slices.Contains([]string{tablesDendro, tablesExporter, tablesExisting}, text) {
		return errors.New("want dendro, exporter or existing")
	}
	*f = tablesFlag(text)
	return nil
}

// runClickHouse prints the statements that make tables.
func runClickHouse(_ context.Context, args []string, stdout, stderr io.Writer) int {
	flags := newFlags("clickhouse schema", "", "-database otel | clickhouse-client", stderr)
	database := flags.String("database", "default", "`name` of the database")
	var o tableOptions
	o.flags(flags, "")
	err := flags.Parse(args)
	named := flags.Arg(0) == "schema"
	if err == nil && named {
		err = flags.Parse(flags.Args()[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case !named:
		return usageError(flags, "want dendro clickhouse schema")
	case flags.NArg() > 0:
		return usageError(flags, "unexpected argument %q", flags.Arg(0))
	case o.kind == tablesExisting:
		return usageError(flags, "-tables existing: nothing makes these")
	}
	if err := o.check(); err != nil {
		return usageError(flags, "%v", err)
	}
	for _, statement := range clickhousestore.Schema(*database, o.options()) {
		if _, err := fmt.Fprintf(stdout, "%s;\n\n", statement); err != nil {
			return failed(flags, err)
		}
	}
	return exitOK
}
