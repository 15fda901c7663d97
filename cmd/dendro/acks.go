package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// acks are the requests of a run that a collector has acknowledged. add is safe for concurrent
// use, and the other methods when all calls of add have returned.
type acks struct {
	run   loadRun
	began time.Time

	mu      sync.Mutex
	spans   [][][]uint16 // by connection, service and number of the request: its spans, or 0
	journal io.Writer    // or nil
}

// Bounds of a run.
const (
	maxConnections = 1000
	maxBatch       = 10_000
	maxNumber      = 1 << 24 // requests of a service on a connection
	maxAckBytes    = 128     // of a line of a journal
)

// startJournal writes what add adds to the end of a file, too. The file may have several runs.
func (a *acks) startJournal(w io.Writer) error {
	a.journal = w
	_, err := fmt.Fprintf(w, "run %d %d %d\n", a.run.seed, a.run.batch, a.began.Unix())
	return err
}

// add adds a request that was acknowledged.
func (a *acks) add(r *loadRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.journal != nil {
		if _, err := fmt.Fprintf(a.journal, "%d %d %d %d\n", r.connection, r.service, r.number, r.spans); err != nil {
			return err
		}
	}
	a.note(r)
	return nil
}

func (a *acks) note(r *loadRequest) {
	for len(a.spans) <= r.connection {
		a.spans = append(a.spans, make([][]uint16, len(serviceNames)))
	}
	numbers := &a.spans[r.connection][r.service]
	if n := r.number + 1; len(*numbers) < n {
		*numbers = append(*numbers, make([]uint16, n-len(*numbers))...)
	}
	(*numbers)[r.number] = uint16(r.spans)
}

// each calls visit for each trace with acknowledged spans, whose indices in the shape it passes,
// until visit returns false. visit must not keep them.
func (a *acks) each(visit func(p *plan, spans []int) bool) {
	var spans []int
	for connection, of := range a.spans {
		places := make([]int, len(of)) // of the next span of each service
		left := 0                      // spans up to the last acknowledged request of each service
		for _, numbers := range of {
			left += len(numbers) * a.run.batch
		}
		for n := uint64(0); left > 0; n++ {
			p := a.run.plan(connection, n)
			spans = spans[:0]
			for i := range p.shape.spans {
				service := p.shape.spans[i].service
				place := places[service]
				places[service]++
				number := place / a.run.batch
				if number >= len(of[service]) {
					continue
				}
				left--
				if place%a.run.batch < int(of[service][number]) {
					spans = append(spans, i)
				}
			}
			if len(spans) > 0 && !visit(&p, spans) {
				return
			}
		}
	}
}

// readJournal reads the runs in a file that startJournal and add have written, at least one. It
// ignores a last line that was not written whole.
func readJournal(name string) (runs []*acks, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	in := bufio.NewReaderSize(f, maxAckBytes)
	for line := 1; ; line++ {
		data, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(runs) == 0:
			return nil, fmt.Errorf("%s: there is no run in it", name)
		case errors.Is(err, io.EOF):
			return runs, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull): // a line that is too long is no request
			return nil, err
		}
		text := string(data)
		var a acks
		var began int64
		if n, _ := fmt.Sscanf(text, "run %d %d %d\n", &a.run.seed, &a.run.batch, &began); n == 3 && a.run.batch > 0 && a.run.batch <= maxBatch {
			a.began = time.Unix(began, 0)
			runs = append(runs, &a)
			continue
		}
		var r loadRequest
		n, _ := fmt.Sscanf(text, "%d %d %d %d\n", &r.connection, &r.service, &r.number, &r.spans)
		if n != 4 || len(runs) == 0 || r.connection < 0 || r.connection >= maxConnections || r.service < 0 || r.service >= len(serviceNames) ||
			r.number < 0 || r.number >= maxNumber || r.spans < 1 || r.spans > runs[len(runs)-1].run.batch {
			return nil, fmt.Errorf("%s:%d: %q is no acknowledged request", name, line, text)
		}
		runs[len(runs)-1].note(&r)
	}
}
