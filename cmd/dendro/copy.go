package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
)

// Bounds of what is written at once. A collector decodes larger requests one at a time.
const (
	maxCopySpans = 512
	maxCopyBytes = 1 << 20
)

// copyWriters is how many writes are under way at a time.
const copyWriters = 4

// copied counts what a copy has written.
type copied struct {
	accepted, rejected atomic.Int64
	reason             atomic.Pointer[string] // of the last that were rejected
	refused            func() string          // says what has to be written again; or nil
}

// String returns the last line of a command.
func (c *copied) String() string {
	out := fmt.Sprintf("%d spans accepted, %d rejected", c.accepted.Load(), c.rejected.Load())
	if reason := c.reason.Load(); reason != nil {
		out += " (" + printable(*reason) + ")"
	}
	return out
}

// copyFiles writes the spans of files to w, and prints the progress. It stops at the first error.
// Then some spans that it has not counted may be written.
func (c *copied) copyFiles(ctx context.Context, w collector.Writer, names []string, progressOut io.Writer) error {
	var current atomic.Pointer[traceFile]
	began := time.Now()
	stop := progress(progressOut, func() string {
		at := ""
		if f := current.Load(); f != nil {
			at = fmt.Sprintf("%s: %s", f.name, size(f.read.Load()))
			if f.size > 0 {
				at += fmt.Sprintf(" of %s", size(f.size))
			}
			at += ", "
		}
		line := fmt.Sprintf("%s%s, %d a second", at, c, perSecond(c.accepted.Load(), began))
		if c.refused != nil {
			if refused := c.refused(); refused != "" {
				line += ", " + refused
			}
		}
		return line
	})
	defer stop()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	parts := make(chan part)
	var writers sync.WaitGroup
	for range copyWriters {
		writers.Go(func() {
			for p := range parts {
				if err := c.write(ctx, w, p); err != nil {
					cancel(err)
				}
			}
		})
	}
	p := packer{full: func(p part) error {
		select {
		case parts <- p:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}}
	var err error
	for _, name := range names {
		if err = p.readFile(name, &current); err != nil {
			break
		}
	}
	flushErr := p.flush() // also what comes before the error
	close(parts)
	writers.Wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled):
		return errInterrupted
	case cause != nil:
		return cause
	case err != nil:
		return err
	}
	return flushErr
}

var errInterrupted = errors.New("interrupted")

// write writes a part, which is not empty.
func (c *copied) write(ctx context.Context, w collector.Writer, p part) error {
	err := w.Write(ctx, p.batches)
	if rejected := (*collector.RejectedError)(nil); errors.As(err, &rejected) {
		c.rejected.Add(int64(rejected.Spans))
		c.reason.Store(&rejected.Reason)
		p.spans -= rejected.Spans
		err = nil
	}
	if err == nil {
		c.accepted.Add(int64(p.spans))
	}
	return err
}

// runCopy copies the files that are the arguments of a command to w, and returns the exit code.
func runCopy(ctx context.Context, flags *flag.FlagSet, c *copied, w collector.Writer, stdout, stderr io.Writer) int {
	err := c.copyFiles(ctx, w, flags.Args(), stderr)
	fmt.Fprintln(stdout, c)
	switch {
	case err != nil:
		return failed(flags, err)
	case c.rejected.Load() > 0:
		return exitError
	}
	return exitOK
}

// part is what is written at once.
type part struct {
	batches      []*dendro.Batch
	spans, bytes int
}

// packer gathers batches in parts that are bounded by maxCopySpans and maxCopyBytes. A larger
// span is a part of its own.
type packer struct {
	part
	full    func(part) error
	encoded []byte
}

// readFile adds the spans of a file.
func (p *packer) readFile(name string, current *atomic.Pointer[traceFile]) error {
	f, err := openFile(name)
	if err != nil {
		return err
	}
	defer f.close()
	current.Store(f)
	for {
		batches, err := f.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, b := range batches {
			if err := p.add(b); err != nil {
				return err
			}
		}
	}
}

// add adds the spans of b.
func (p *packer) add(b *dendro.Batch) error {
	p.encoded = otlp.AppendResourceSpans(p.encoded[:0], b.Resource, nil, 0)
	origin, first := len(p.encoded), 0
	for i, s := range b.Spans {
		p.encoded = otlp.AppendSpan(p.encoded[:0], s)
		if p.spans > 0 && (p.spans == maxCopySpans || p.bytes+len(p.encoded) > maxCopyBytes) {
			p.take(b.Resource, b.Spans[first:i])
			first = i
			if err := p.flush(); err != nil {
				return err
			}
		}
		if i == first {
			p.bytes += origin
		}
		p.spans++
		p.bytes += len(p.encoded)
	}
	p.take(b.Resource, b.Spans[first:])
	return nil
}

// take adds spans that are counted already.
func (p *packer) take(r *dendro.Resource, spans []*dendro.SpanData) {
	if len(spans) > 0 {
		p.batches = append(p.batches, &dendro.Batch{Resource: r, Spans: spans})
	}
}

// flush passes on what there is.
func (p *packer) flush() error {
	if p.spans == 0 {
		return nil
	}
	full := p.part
	p.part = part{}
	return p.full(full)
}
