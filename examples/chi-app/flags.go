package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dendrotrace/dendro"
)

// Roles of a process.
const (
	roleAll   = "all"
	roleFront = "front"
	roleA     = "a"
	roleB     = "b"
)

// options are the flags, and what a test sets.
type options struct {
	role        string
	front, page string
	a, b        string
	next        []string
	collector   string
	data        string
	flight      string
	db          string
	load        time.Duration
	spans       dendro.Collector // of a test, instead of those that the flags name
}

// keepsSpans reports whether the process has a store, and so the page.
func (o options) keepsSpans() bool { return o.collector == "" && o.spans == nil }

// maxLoad bounds the duration of the load, and so the memory of the load generator.
const maxLoad = time.Hour

// defaultCollector is the default address of "dendro serve".
const defaultCollector = "http://127.0.0.1:4318"

// plays reports whether the process runs the services of a role.
func (o options) plays(role string) bool { return o.role == role || o.role == roleAll }

// parseFlags parses args. If it returns an error, it has written the usage to stderr.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("chi-app", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.role, "role", roleAll, "which services this process runs: all, front, a or b; the last three send\ntheir spans to a collector, by default "+defaultCollector)
	flags.StringVar(&o.front, "front", "127.0.0.1:8699", "`address` of the front service")
	flags.StringVar(&o.page, "page", "127.0.0.1:8700", "`address` of the page with the traces; there is none if they are sent to a collector")
	flags.StringVar(&o.a, "a", "127.0.0.1:8691", "`address` of service A, where it listens and where front calls it")
	flags.StringVar(&o.b, "b", "127.0.0.1:8692", "`address` of service B, where it listens and where front calls it")
	flags.Func("next", "`URLs`, separated by commas, of the front services of other processes, which GET /tree calls", func(urls string) error {
		o.next = strings.FieldsFunc(urls, func(c rune) bool { return c == ',' })
		return nil
	})
	flags.StringVar(&o.collector, "collector", "", "send the spans to this OTLP/HTTP `URL`, such as "+defaultCollector+",\ninstead of keeping them in this process (default: OTEL_EXPORTER_OTLP_ENDPOINT)")
	flags.StringVar(&o.data, "data", "", "keep the spans in this `directory`, where they survive a restart, instead of in memory")
	flags.StringVar(&o.flight, "flight", "", "save execution traces of the seconds before a request failed or was slow in\nthis `directory`; the pages of the traces lead to them")
	flags.StringVar(&o.db, "db", "", "a postgres:// `URL`: use this database, with the tables shop_orders and\nshop_items (default: SQLite in a temporary file)")
	flags.DurationVar(&o.load, "load", 0, "make traffic for that `time`, such as 30s, then serve on until Ctrl-C (at most "+maxLoad.String()+")")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, badFlags(flags, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	if err := o.check(); err != nil {
		return o, badFlags(flags, err)
	}
	if o.data == "" {
		o.collector = cmp.Or(o.collector, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	}
	if o.role != roleAll {
		o.collector = cmp.Or(o.collector, defaultCollector)
	}
	return o, nil
}

func badFlags(flags *flag.FlagSet, err error) error {
	fmt.Fprintf(flags.Output(), "chi-app: %v\n", err)
	flags.Usage()
	return err
}

func (o options) check() error {
	switch o.role {
	case roleAll, roleFront, roleA, roleB:
	default:
		return fmt.Errorf("-role %q is not one of all, front, a, b", o.role)
	}
	if o.db != "" && !strings.HasPrefix(o.db, "postgres://") && !strings.HasPrefix(o.db, "postgresql://") {
		return errors.New("-db is not a URL such as postgres://user@localhost/shop")
	}
	if o.data != "" && (o.collector != "" || o.role != roleAll) {
		return errors.New("-data is for a process that keeps its spans: leave out -collector and -role")
	}
	if o.load < 0 || o.load > maxLoad {
		return fmt.Errorf("-load %v is not between 0s and %v", o.load, maxLoad)
	}
	if o.load > 0 && !o.plays(roleFront) {
		return fmt.Errorf("-load needs the front service, which -role %s does not run", o.role)
	}
	return nil
}
