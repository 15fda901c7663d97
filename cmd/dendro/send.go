package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"

	"github.com/dendrotrace/dendro/collector/remote"
)

// target is where a command sends spans.
type target struct {
	endpoint     string
	token        bearer
	certificates certificateFlags
}

func (t *target) flags(flags *flag.FlagSet) {
	flags.StringVar(&t.endpoint, "otlp", "", "`URL` of the collector; by default $OTEL_EXPORTER_OTLP_ENDPOINT, or else http://localhost:4318")
	t.token.flag(flags, "token-file", "the collector")
	t.certificates = exporterCertificates()
	t.certificates.flags(flags)
}

// writer returns a writer that sends with a transport.
func (t *target) writer(transport http.RoundTripper, o remote.Options) (*remote.Writer, error) {
	header, err := t.token.header()
	if err != nil {
		return nil, err
	}
	o.Header, o.HTTPClient = header, &http.Client{Transport: transport}
	return remote.NewWriter(t.endpoint, o)
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
	case misplaced(flags) != "":
		return usageError(flags, "unexpected argument %q: put flags before the files", misplaced(flags))
	}
	transport, err := to.certificates.transport(copyWriters)
	if err != nil {
		return failed(flags, err)
	}
	defer transport.CloseIdleConnections()
	m := &meter{next: transport}
	w, err := to.writer(m, remote.Options{})
	if err != nil {
		return failed(flags, err)
	}
	if err := checkFiles(flags.Args()); err != nil {
		return failed(flags, err)
	}
	return runCopy(ctx, flags, &copied{refused: m.refused}, w, stdout, stderr)
}
