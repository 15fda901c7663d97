package diagnostics

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/pprof"
	"sync"
	"time"
)

// The bounds of the duration of a profile.
const (
	MinProfile = time.Second
	MaxProfile = time.Minute
)

// ErrProfiling is the error of [Diagnostics.Profile] if a CPU profile is running: a process can have one at a time.
var ErrProfiling = errors.New("diagnostics: another CPU profile is running: try again when it has ended")

// Profile writes to w a CPU profile of one operation, in the compressed format that go tool pprof reads. It takes the time
// took, from [MinProfile] to [MaxProfile], or less if ctx is done before. If operation is empty, the profile has all samples of the
// process.
//
// Labels are on meanwhile, see [Diagnostics.SetLabels]. A sample belongs to the operation that is the name of
// the span of its label span_id. That is the name with which the span has ended, and the label operation is
// changed to it. If the span has not ended, it is the name at the start. Requests that began
// before labels were on have none, so they belong to no operation.
//
// Nothing is written to w before the profile is complete. If another CPU profile is running, the error is
// [ErrProfiling].
func (d *Diagnostics) Profile(ctx context.Context, w io.Writer, operation string, took time.Duration) error {
	if took < MinProfile || took > MaxProfile {
		return fmt.Errorf("diagnostics: a profile cannot take %s: choose %s to %s", took, MinProfile, MaxProfile)
	}
	var all bytes.Buffer
	if pprof.StartCPUProfile(&all) != nil {
		return ErrProfiling // there is no other error
	}
	names := &renames{names: map[string]string{}}
	d.profiling(names)
	timer := time.NewTimer(took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	d.profiling(nil)
	pprof.StopCPUProfile()
	raw, err := decompress(&all)
	if err != nil {
		return err
	}
	only, err := filterProfile(raw, operation, names.get)
	if err != nil {
		return err
	}
	out := gzip.NewWriter(w)
	if _, err := out.Write(only); err != nil {
		return err
	}
	return out.Close()
}

// profiling turns labels on for a profile that needs names, or off if names is nil.
func (d *Diagnostics) profiling(names *renames) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renamed.Store(names)
	d.wantLabels(names != nil)
}

// maxRenames bounds how many spans may have changed their names during a profile. The samples of others keep the
// names at the start.
const maxRenames = 1 << 16

// renames has the last names of spans whose label is another one.
type renames struct {
	mu    sync.Mutex
	names map[string]string // by the label span_id; guarded by mu
}

// add notes the name with which the span of l has ended.
func (r *renames) add(l *labels, name string) {
	if name == l.operation {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.names) < maxRenames {
		r.names[l.span] = name
	}
}

// get returns the name with which a span has ended, or else operation.
func (r *renames) get(span, operation string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name, ok := r.names[span]; ok {
		return name
	}
	return operation
}

// maxProfileBytes bounds a profile that is not compressed. A minute of a hundred cores has 600,000 samples of some
// hundred bytes.
const maxProfileBytes = 256 << 20

// decompress returns a profile as package pprof has written it.
func decompress(r io.Reader) ([]byte, error) {
	in, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("diagnostics: profile: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxProfileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("diagnostics: profile: %w", err)
	}
	if len(raw) > maxProfileBytes {
		return nil, fmt.Errorf("diagnostics: the profile has more than %d MiB: choose less time", maxProfileBytes>>20)
	}
	return raw, nil
}
