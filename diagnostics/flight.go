package diagnostics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"runtime/trace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
)

// FlightOptions configures [Diagnostics.StartFlightRecorder]. The zero value is ready to use.
type FlightOptions struct {
	// MinAge is how much of the past a recording has, if MaxBytes suffice. Zero means 5 s.
	MinAge time.Duration
	// MaxBytes is about the memory for the past. Zero means 16 MiB.
	MaxBytes uint64
	// Every is the shortest time between two recordings. Zero means 10 s.
	Every time.Duration
	// Dir is the directory that recordings are written to, as flight-<trace id>.trace. It is made
	// if there is none, and must not be that of another process at the same time. Recordings
	// that are there already are found again. If Dir is empty, recordings are kept in memory.
	Dir string
	// KeepBytes bounds all recordings. If there are more, the oldest are removed. Zero means 256
	// MiB, or 64 MiB in memory.
	KeepBytes int64
}

const (
	defaultMinAge   = 5 * time.Second
	defaultMaxBytes = 16 << 20
	defaultEvery    = 10 * time.Second
	defaultInDir    = 256 << 20
	defaultInMemory = 64 << 20
)

// Reasons of a [Recording].
const (
	ReasonError = "error" // the span has the status error
	ReasonSlow  = "slow"  // it took longer than 99 % of those of its operation in the last hour
)

// FlightStats says what became of the requests that failed or were slow since the flight recorder
// was started.
type FlightStats struct {
	Saved uint64 `json:"saved"`
	// Unsaved is the number of those without a recording, by reason: "rate" (too soon after
	// another one), "busy" (another one was being written), "size" (larger than
	// FlightOptions.KeepBytes), "failed" (it could not be written).
	Unsaved map[string]uint64 `json:"unsaved,omitempty"`
	// LastError is why a recording was too large or could not be written, or "".
	LastError string `json:"lastError,omitempty"`
}

// flight is a flight recorder that runs.
type flight struct {
	recorder *trace.FlightRecorder
	kept     *recordings
	usual    *usual
	every    time.Duration
	began    time.Time
	next     atomic.Int64   // when the next recording may be made, in nanoseconds after began
	wanted   chan Recording // what to save next

	stop context.CancelFunc
	done sync.WaitGroup

	saved, rate, busy, size, failed atomic.Uint64
	lastError                       atomic.Pointer[string]
}

// StartFlightRecorder has the runtime record what all goroutines do, for the last seconds
// ([trace.FlightRecorder]). When the first span of a local trace ends with an error, or takes longer
// than 99 % of those of its operation, these seconds are saved as a [Recording], by a goroutine of
// its own. Spans are tasks and regions in it.
//
// A process has at most one flight recorder. It is an error if there is another one, or if the
// directory cannot be used.
func (d *Diagnostics) StartFlightRecorder(o FlightOptions) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flight.Load() != nil {
		return errors.New("diagnostics: the flight recorder runs already: stop it first")
	}
	most := int64(defaultInMemory)
	if o.Dir != "" {
		most = defaultInDir
	}
	kept, err := openRecordings(o.Dir, cmp.Or(o.KeepBytes, most))
	if err != nil {
		return fmt.Errorf("diagnostics: the directory for flight recordings: %w", err)
	}
	f := &flight{
		recorder: trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: cmp.Or(o.MinAge, defaultMinAge), MaxBytes: cmp.Or(o.MaxBytes, defaultMaxBytes)}),
		kept:     kept, usual: &d.usual, every: cmp.Or(o.Every, defaultEvery), began: time.Now(), wanted: make(chan Recording, 1),
	}
	if err := f.recorder.Start(); err != nil {
		return fmt.Errorf("diagnostics: the flight recorder cannot start: %w: a process has only one", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.done.Go(func() { f.save(ctx) })
	f.done.Go(func() { f.learn(ctx) })
	d.last = f
	d.flight.Store(f)
	return nil
}

// StopFlightRecorder ends what [Diagnostics.StartFlightRecorder] began. It waits for a recording
// that is being written. What was saved can still be read.
func (d *Diagnostics) StopFlightRecorder() {
	defer d.traced() // releases the regions and tasks
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.flight.Swap(nil); f != nil {
		f.stop()
		f.done.Wait()
		f.recorder.Stop()
	}
}

// FlightStats returns the counts of the flight recorder that was started last.
func (d *Diagnostics) FlightStats() FlightStats {
	f := d.lastFlight()
	if f == nil {
		return FlightStats{}
	}
	s := FlightStats{Saved: f.saved.Load(), Unsaved: map[string]uint64{}}
	for reason, n := range map[string]*atomic.Uint64{"rate": &f.rate, "busy": &f.busy, "size": &f.size, "failed": &f.failed} {
		if n := n.Load(); n > 0 {
			s.Unsaved[reason] = n
		}
	}
	if err := f.lastError.Load(); err != nil {
		s.LastError = *err
	}
	return s
}

// Recordings returns what the flight recorder that was started last has kept, the newest first.
func (d *Diagnostics) Recordings() []Recording {
	if f := d.lastFlight(); f != nil {
		return f.kept.all()
	}
	return nil
}

// OpenRecording returns the content of the recording of a trace, which must be closed. It returns
// an error that matches [fs.ErrNotExist] if there is none.
func (d *Diagnostics) OpenRecording(id dendro.TraceID) (io.ReadSeekCloser, error) {
	if f := d.lastFlight(); f != nil {
		return f.kept.open(id)
	}
	return nil, fs.ErrNotExist
}

// lastFlight returns the flight recorder that was started last, or nil.
func (d *Diagnostics) lastFlight() *flight {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// ended looks whether the first span of a local trace, which ends, is a reason to save a recording.
func (f *flight) ended(s *dendro.Span, data *dendro.SpanData) {
	service := s.Tracer().Resource().Service()
	r := Recording{TraceID: data.TraceID, Service: service, Name: data.Name, Start: time.Unix(0, data.Start), End: time.Unix(0, data.End)}
	p99 := f.usual.p99(operation{service, data.Name, data.Kind})
	switch {
	case data.Status.Code == dendro.StatusError:
		r.Reason = ReasonError
	case p99 > 0 && data.Duration() > p99:
		r.Reason = ReasonSlow
	default:
		return
	}
	now, next := int64(time.Since(f.began)), f.next.Load()
	if now < next || !f.next.CompareAndSwap(next, now+int64(f.every)) {
		f.rate.Add(1)
		return
	}
	select {
	case f.wanted <- r:
	default:
		f.busy.Add(1)
	}
}

// save saves what is wanted, until ctx is done.
func (f *flight) save(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.wanted:
			f.count(f.record(r))
		}
	}
}

func (f *flight) record(r Recording) error {
	r.Collections, r.Paused = collections(r.Start, r.End)
	r.End = time.Now()
	return f.kept.add(r, func(w io.Writer) error {
		_, err := f.recorder.WriteTo(w)
		return err
	})
}

// count counts a recording that was saved, or the error.
func (f *flight) count(err error) {
	if err == nil {
		f.saved.Add(1)
		return
	}
	text := err.Error()
	f.lastError.Store(&text)
	if errors.Is(err, errTooLarge) {
		f.size.Add(1)
	} else {
		f.failed.Add(1)
	}
}

// learn keeps what is usual up to date, until ctx is done.
func (f *flight) learn(ctx context.Context) {
	ticks := time.NewTicker(usualPeriod)
	defer ticks.Stop()
	for {
		_ = f.usual.refresh(ctx) // without, what is known stays
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// collections returns how many garbage collections ended from start to end, and for how long they
// stopped the program.
func collections(start, end time.Time) (n int, paused time.Duration) {
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	for i, at := range stats.PauseEnd {
		if !at.Before(start) && !at.After(end) {
			n++
			paused += stats.Pause[i]
		}
	}
	return n, paused
}
