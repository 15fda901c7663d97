package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector/server"
)

// serveOptions are the flags of "dendro serve".
type serveOptions struct {
	otlp, otlpGRPC, web     string // addresses; empty ones are not listened to
	maxConnections          int
	receive                 server.Options
	tokenFile, webTokenFile string
	tls                     certificateFiles
	memory                  byteSize
	data                    string // directory, or empty for another store
	dataSize                byteSize
	dataAge                 time.Duration
	keepErrors              time.Duration
	sync                    syncFlag
	clickHouse              clickHouseOptions
	spool                   spoolOptions
	keepRules               string // file
	keepLimit               int
	shutdownTimeout         time.Duration
	logFormat               string
	logLevel                slog.Level
	config                  string // file
}

const (
	// defaultMemory is the default of -memory for a store in memory, and defaultClickHouseMemory that with
	// -clickhouse.
	defaultMemory           = 256 << 20
	defaultClickHouseMemory = 512 << 20
	// defaultDataSize is the default of -data-size.
	defaultDataSize = 10 << 30
)

const serveUsage = `Usage: dendro serve [flags]

Receives spans, keeps them and shows them. Each flag can also be set by an environment
variable, -tls-cert by DENDRO_TLS_CERT, and by a line of the file that -config names:

  # who may send
  token-file = /etc/dendro/writers

A flag on the command line counts before the variable, and that before the file.
SIGHUP reads the files with tokens, certificates and rules again.

Flags:

`

// newServeFlags returns the flags of "dendro serve" and where their values are.
func newServeFlags(stderr io.Writer) (*flag.FlagSet, *serveOptions) {
	o := &serveOptions{maxConnections: 1000, dataSize: defaultDataSize, keepLimit: 5000}
	flags := flag.NewFlagSet("dendro serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, serveUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.otlp, "otlp", "127.0.0.1:4318", "`address` that receives OTLP/HTTP, in protobuf and JSON, and Zipkin's JSON; \"\" for none")
	flags.StringVar(&o.otlpGRPC, "otlp-grpc", "127.0.0.1:4317", "`address` that receives OTLP/gRPC; \"\" for none")
	flags.StringVar(&o.web, "web", "127.0.0.1:8700", "`address` of the page, the query API, /metrics, /healthz and /readyz; \"\" for none")
	flags.Var((*positive)(&o.maxConnections), "max-connections", "largest `number` of open connections of each address")
	receiveFlags(flags, &o.receive)
	flags.StringVar(&o.tokenFile, "token-file", "", "`file` with the bearer tokens that may send, one a line; by default whoever reaches the address may")
	flags.StringVar(&o.webTokenFile, "web-token-file", "", "`file` with the bearer tokens that may read, and log in to the page; by default this machine may")
	flags.StringVar(&o.tls.cert, "tls-cert", "", "`file` with the certificate of all addresses and its chain (PEM); needs -tls-key")
	flags.StringVar(&o.tls.key, "tls-key", "", "`file` with the private key of -tls-cert (PEM)")
	flags.StringVar(&o.tls.clientCA, "tls-client-ca", "", "`file` with the certificates that sign those of clients (PEM); all clients need one then, and may read without a token unless -web-token-file is set")
	flags.Var(&o.memory, "memory", "`size` of the memory of the process, at least 56MiB; in memory, four fifths are for the store, where new traces evict the oldest; with -clickhouse, a sixth of that is for spans that wait for it (default 256MiB; with -data one in 32 of -data-size besides; with -clickhouse 512MiB)")
	flags.StringVar(&o.data, "data", "", "`directory` that keeps the spans on disk, where they survive a restart; \"\" keeps them in memory")
	flags.Var(&o.dataSize, "data-size", "largest `size` of the traces in -data; new ones evict the oldest")
	flags.DurationVar(&o.dataAge, "data-age", 0, "`time` for which traces are kept in -data, such as 168h; 0: until there is no room")
	flags.DurationVar(&o.keepErrors, "keep-errors", 0, "`time` for which traces with an error, and the slowest five of each operation, are kept in -data, such as 720h, if that is longer than others are; 0: not longer")
	flags.Var(&o.sync, "sync", "`when` spans in -data are safe: always, before they are acknowledged; interval, a second later; none, when the database likes")
	o.clickHouse.flags(flags)
	o.spool.flags(flags)
	flags.Var((*positive)(&o.keepLimit), "keep-limit", "`number` of traces a second that all processes which keep their spans together send because of errors and the like; above it, they send a share")
	flags.StringVar(&o.keepRules, "keep-rules", "", "`file` with rules by which processes that keep their spans send traces, a line for each: NAME [LIMIT/min]: TraceQL")
	flags.DurationVar(&o.shutdownTimeout, "shutdown-timeout", 5*time.Second, "`time` for which open requests may go on after SIGTERM or Ctrl-C")
	flags.StringVar(&o.logFormat, "log-format", "text", "`format` of the log on standard error, text or json")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "lowest `level` that is logged: debug, info, warn or error")
	flags.StringVar(&o.config, "config", "", "`file` with flags, a line for each")
	return flags, o
}

// parseServe parses args, the environment and the configuration file. If it returns an error, it
// has written it to stderr, except for flag.ErrHelp.
func parseServe(args []string, stderr io.Writer) (serveOptions, error) {
	flags, o := newServeFlags(stderr)
	if err := flags.Parse(args); err != nil {
		return *o, err // which Parse has written
	}
	err := configure(flags, o.config)
	if err == nil {
		_ = flags.Parse(args) // as before: the command line has the last word
		err = o.check(flags.Args())
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(stderr, "dendro serve:", line)
		}
		fmt.Fprintln(stderr, `"dendro serve -help" lists the flags.`)
	}
	return *o, err
}

// check sets defaults that depend on other options, and returns an error if options do not fit together.
func (o *serveOptions) check(rest []string) error {
	if o.memory == 0 {
		o.memory = defaultMemory
		switch {
		case o.data != "":
			o.memory += o.dataSize / indexShare
		case o.clickHouse.dsn != "":
			o.memory = defaultClickHouseMemory
		}
	}
	inFlight := defaultInFlight(o.memory)
	if o.clickHouse.dsn != "" {
		inFlight /= 2 // they stay, decoded, until ClickHouse has the spans
	}
	o.receive.MaxInFlightBytes = cmp.Or(o.receive.MaxInFlightBytes, inFlight)
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.otlp == "" && o.otlpGRPC == "" && o.web == "":
		return errors.New("nothing to do: -otlp, -otlp-grpc and -web are all empty")
	case (o.tls.cert == "") != (o.tls.key == ""):
		return errors.New("-tls-cert and -tls-key need each other")
	case o.tls.clientCA != "" && o.tls.cert == "":
		return errors.New("-tls-client-ca needs -tls-cert and -tls-key")
	case o.receive.ReadTimeout <= 0:
		return fmt.Errorf("-body-timeout %v: want more than zero", o.receive.ReadTimeout)
	case o.dataAge < 0:
		return fmt.Errorf("-data-age %v: want zero or more", o.dataAge)
	case o.keepErrors < 0:
		return fmt.Errorf("-keep-errors %v: want zero or more", o.keepErrors)
	case o.keepErrors > 0 && o.data == "":
		return errors.New("-keep-errors needs -data")
	case o.data != "" && o.clickHouse.dsn != "":
		return errors.New("-data and -clickhouse exclude each other: spans are kept in one of them")
	case o.shutdownTimeout < 0:
		return fmt.Errorf("-shutdown-timeout %v: want zero or more", o.shutdownTimeout)
	case o.logFormat != "text" && o.logFormat != "json":
		return fmt.Errorf("-log-format %s: want text or json", o.logFormat)
	}
	return errors.Join(o.clickHouse.check(), o.spool.check(o.clickHouse.dsn != ""))
}

// logger returns the log of the program.
func (o *serveOptions) logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: o.logLevel}
	if o.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
