package pebblestore

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// reserve is how much of the disk must be free for spans to be accepted, so that what was accepted
// can be written as a run, and old runs can be dropped.
const reserve = 128 << 20

// disk knows whether there is room. Writes of the database that find none wait in fs until there
// is, because the database does not survive an error.
type disk struct {
	fs       vfs.FS
	below    vfs.FS
	dir      string
	interval time.Duration // of checks
	log      *slog.Logger
	stop     chan struct{}
	free     atomic.Int64 // bytes
	full     atomic.Bool

	mu     sync.Mutex
	signal chan struct{} // closed while full
}

func newDisk(dir string, o *Options, log *slog.Logger) *disk {
	d := &disk{below: o.fs, dir: dir, interval: o.checkInterval, log: log, stop: make(chan struct{}), signal: make(chan struct{})}
	d.fs = vfs.OnDiskFull(o.fs, d.wait)
	return d
}

// wait returns when there is room.
func (d *disk) wait() {
	d.set(true)
	tick := time.NewTicker(d.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.stop:
			return
		}
		if d.check(); !d.full.Load() {
			return
		}
	}
}

// check looks at the disk. If its size cannot be found out, it has room.
func (d *disk) check() {
	usage, err := d.below.GetDiskUsage(d.dir)
	d.free.Store(int64(usage.AvailBytes))
	d.set(err == nil && usage.AvailBytes < reserve)
}

func (d *disk) set(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full.Swap(full) == full {
		return
	}
	if full {
		close(d.signal)
		d.log.Error("dendro: the disk is full: spans are refused until there is room", "bytes", reserve)
	} else {
		d.signal = make(chan struct{})
		d.log.Info("dendro: there is room on the disk again")
	}
}

// becameFull returns a channel that is closed while the disk is full.
func (d *disk) becameFull() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.signal
}

// watch checks the disk until it is closed.
func (d *disk) watch() {
	tick := time.NewTicker(d.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.check()
		case <-d.stop:
			return
		}
	}
}

func (d *disk) close() { close(d.stop) }
