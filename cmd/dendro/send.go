package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"time"

	"github.com/dendrotrace/dendro/collector/remote"
)

// target is where a command sends spans.
type target struct {
	endpoint string
	token    bearer
}

func (t *target) flags(flags *flag.FlagSet) {
	flags.StringVar(&t.endpoint, "otlp", "", "`URL` of the collector; by default $OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318")
	t.token.flag(flags, "token-file", "the collector")
}

// writer returns a writer that sends over a number of connections.
func (t *target) writer(transport http.RoundTripper, o remote.Options) (*remote.Writer, error) {
	header, err := t.token.header()
	if err != nil {
		return nil, err
	}
	o.Header, o.HTTPClient = header, &http.Client{Transport: transport}
	return remote.NewWriter(t.endpoint, o)
}

// newTransport returns a transport that keeps a number of connections open.
func newTransport(connections int) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: connections,
		IdleConnTimeout:     time.Minute,
	}
}

// runSend sends the spans of files.
func runSend(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var to target
	flags := newFlags("send", "FILE…", "traces.json.gz", stderr)
	to.flags(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	case flags.NArg() == 0:
		return usageError(flags, "a file is missing; - is standard input")
	}
	transport := newTransport(copyWriters)
	defer transport.CloseIdleConnections()
	w, err := to.writer(transport, remote.Options{})
	if err != nil {
		return failed(flags, err)
	}
	return runCopy(ctx, flags, w, stdout, stderr)
}
