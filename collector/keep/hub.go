package keep

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
)

// HubOptions configures a [Hub]. The zero value is ready to use.
type HubOptions struct {
	// Remember is the number of announcements that are remembered, so that each is passed on once. The default is
	// 262,144.
	Remember int
	// Limit is how many traces a second all processes together keep because of an error and for other reasons of which there may be
	// many. If they announce more, the hub tells them to keep only those with the highest priority. The default is 5,000.
	Limit int
	// Rules are evaluated by all processes.
	Rules []Rule
}

const defaultHubLimit = 5000

const (
	// maxLog is the number of announcements that a process may be behind, at least.
	maxLog = 1 << 16
	// maxNews bounds the announcements of one answer.
	maxNews = 4096
	// newsInterval is the least time between two answers to a process, so that many announcements are passed on
	// together.
	newsInterval = 50 * time.Millisecond
	// maxProcesses bounds the processes that are listed, and forgetProcess is how long one is listed that does
	// not report.
	maxProcesses  = 4096
	forgetProcess = 5 * time.Minute
	// MaxHold bounds how long everything is kept.
	MaxHold = time.Hour
	// maxKept is the number of kept traces that are listed.
	maxKept = 1000
)

// Hub passes on, in the collector, which traces are kept. Its methods are safe for concurrent use. It starts no
// goroutine.
type Hub struct {
	epoch string // a new one for each hub, so that processes learn that the collector has started again
	known *known
	limit float64

	mu        sync.Mutex
	closed    bool
	log       []Announcement // guarded by mu, like the fields below; the last ones, oldest first
	first     uint64         // number of the first one in log
	changed   chan struct{}  // closed when there is news
	hold      time.Time      // everything is kept until then
	rules     []Rule
	version   uint64  // of hold, rules and share
	second    int64   // since the Unix epoch
	news      float64 // traces that were announced in it
	share     float64 // of the traces that processes keep, those with the highest priority
	processes map[string]*Process
	kept      []Kept // newest last
	stats     HubStats
}

// NewHub returns a Hub. It returns a [*RuleError] if a rule is not valid.
func NewHub(o HubOptions) (*Hub, error) {
	h := &Hub{
		epoch:     rand.Text()[:8],
		known:     newKnown(orDefault(o.Remember, defaultRemember)),
		limit:     float64(orDefault(o.Limit, defaultHubLimit)),
		share:     1,
		changed:   make(chan struct{}),
		processes: map[string]*Process{},
		stats:     HubStats{Kept: map[string]uint64{}, Lost: map[string]uint64{}},
	}
	return h, h.SetRules(o.Rules)
}

// Announce passes announcements of a process on to the others, unless they are known. service is for [Hub.Kept].
func (h *Hub) Announce(service string, as []Announcement) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, news := time.Now(), false
	for _, a := range as {
		h.stats.Announced++
		if !h.known.add(a.TraceID) {
			h.stats.Repeated++
			continue
		}
		news = true
		h.news++
		h.log = append(h.log, a)
		countReason(&h.stats.Kept, a.Reason, 1)
		h.kept = append(h.kept, Kept{a, service, now})
	}
	h.adjust(now.Unix())
	before := len(h.log)
	h.log = last(h.log, maxLog)
	h.first += uint64(before - len(h.log))
	h.kept = last(h.kept, maxKept)
	if news {
		h.change()
	}
}

// adjust changes h.share, at most once a second, so that about h.limit traces a second are announced. h.mu is held.
func (h *Hub) adjust(second int64) {
	if second == h.second {
		return
	}
	rate := h.news
	if second > h.second+1 {
		rate = 0
	}
	before := h.share
	switch {
	case rate > h.limit:
		h.share *= h.limit / rate
	case rate < h.limit/2:
		h.share = min(1, 2*h.share)
	}
	if h.share != before {
		h.version++
		h.change()
	}
	h.second, h.news = second, 0
}

// last returns at least the last n elements of s, and at most twice as many. It moves them seldom.
func last[T any](s []T, n int) []T {
	if len(s) <= 2*n {
		return s
	}
	return slices.Delete(s, 0, len(s)-n)
}

// change wakes the processes that wait. h.mu is held.
func (h *Hub) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Close makes all calls of Wait return, now and later.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.change()
}

// Hold has all processes keep everything in the next d, at most an hour. Zero ends that.
func (h *Hub) Hold(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hold = time.Now().Add(min(max(d, 0), MaxHold))
	h.version++
	h.change()
}

// SetRules replaces the rules. If one of them is not valid, it returns a [*RuleError] and they stay as they were.
func (h *Hub) SetRules(rules []Rule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("%d rules: at most %d are possible", len(rules), MaxRules)
	}
	if _, err := parseRules(rules); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules = slices.Clone(rules)
	h.version++
	h.change()
	return nil
}

// News is what a process hears.
type News struct {
	// Next is where the next news begin. A process passes it on to Wait and need not understand it.
	Next string `json:"next"`
	// Restarted says that the hub does not know where the process was: it is another one. Missed is the number of
	// announcements that the process did not hear of, because it was too slow.
	Restarted bool           `json:"restarted,omitempty"`
	Missed    uint64         `json:"missed,omitempty"`
	Keep      []Announcement `json:"keep,omitempty"`
	// Changed says that Hold, Rules and Share have changed, or may have.
	Changed bool `json:"changed,omitempty"`
	// Share is that of [Recorder.SetShare].
	Share float64 `json:"share,omitempty"`
	// Hold is how long everything is kept from now on, in nanoseconds.
	Hold  time.Duration `json:"hold,omitempty"`
	Rules []Rule        `json:"rules,omitempty"`
}

// cursor is a parsed News.Next.
type cursor struct {
	epoch        string
	seq, version uint64
}

func (c cursor) String() string {
	return c.epoch + "." + strconv.FormatUint(c.seq, 10) + "." + strconv.FormatUint(c.version, 10)
}

func parseCursor(text string) (c cursor) {
	part := strings.Split(text, ".")
	if len(part) != 3 {
		return cursor{}
	}
	c.epoch = part[0]
	c.seq, _ = strconv.ParseUint(part[1], 10, 64)
	c.version, _ = strconv.ParseUint(part[2], 10, 64)
	return c
}

// Wait waits for news after those that ended in next, or until ctx is done. With an empty next, it returns at once, with
// what was announced last, at most 4,096 traces: the process may have part in them. With a next of another hub, it returns at
// once, too, and begins with what was announced first.
func (h *Hub) Wait(ctx context.Context, next string) News {
	began := time.Now()
	for {
		h.mu.Lock()
		news, ok := h.newsLocked(parseCursor(next))
		changed := h.changed
		h.mu.Unlock()
		if ok && len(news.Keep) > 0 && !news.Restarted && time.Since(began) < newsInterval && ctx.Err() == nil {
			// Others are often announced shortly after.
			wait(ctx, newsInterval-time.Since(began))
			h.mu.Lock()
			news, _ = h.newsLocked(parseCursor(next))
			h.mu.Unlock()
		}
		if ok || ctx.Err() != nil {
			return news
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// newsLocked returns the news after at, and whether there are any. h.mu is held.
func (h *Hub) newsLocked(at cursor) (n News, ok bool) {
	end := h.first + uint64(len(h.log))
	if at.epoch != h.epoch || at.seq > end {
		n.Restarted, n.Changed = true, true
		at.seq = h.first // others may have announced traces while the process was away
		if at.epoch == "" {
			at.seq = end - uint64(min(maxNews, len(h.log))) // or before its first request arrived
		}
	}
	if at.seq < h.first {
		n.Missed = h.first - at.seq
		at.seq = h.first
	}
	n.Keep = slices.Clone(h.log[at.seq-h.first:][:min(maxNews, int(end-at.seq))])
	n.Changed = n.Changed || at.version != h.version
	if n.Changed {
		n.Hold = max(0, time.Until(h.hold))
		n.Share = h.share
		n.Rules = slices.Clone(h.rules)
	}
	n.Next = cursor{h.epoch, at.seq + uint64(len(n.Keep)), h.version}.String()
	return n, h.closed || n.Restarted || n.Changed || n.Missed > 0 || len(n.Keep) > 0
}

// Process is a process that keeps spans, as it has described itself.
type Process struct {
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Seen     time.Time `json:"seen"` // when it has reported last
	Report
}

// Report is what a process says of its [Recorder].
type Report struct {
	// RingAge is how long ago the oldest trace in the ring began, in nanoseconds.
	RingAge time.Duration `json:"ringAge"`
	// RingBytes is what the ring takes, and RingMaxBytes is its bound.
	RingBytes    int64 `json:"ringBytes"`
	RingMaxBytes int64 `json:"ringMaxBytes"`
	// Kept counts the traces that this process has decided to keep, by reason. Of reasons of the program there are at
	// most 64, and "other".
	Kept map[string]uint64 `json:"kept,omitempty"`
	// Lost counts kept traces whose spans were not passed on, by reason: see LostOverwritten and the others.
	Lost map[string]uint64 `json:"lost,omitempty"`
	// Asked counts the traces that others have decided to keep. Found counts how often the ring had spans of one of them.
	// Most processes have no part in most traces.
	Asked uint64 `json:"asked"`
	Found uint64 `json:"found"`
	// Spans counts the spans that were passed on.
	Spans uint64 `json:"spans"`
	// Pending is the number of traces that wait to be sent, and Unannounced that of those that wait to be announced.
	Pending     int `json:"pending"`
	Unannounced int `json:"unannounced"`
}

// Report notes what a process says of itself.
func (h *Hub) Report(service, instance string, r Report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	r.Kept, r.Lost = bounded(r.Kept), bounded(r.Lost)
	p := h.processes[instance]
	if p == nil {
		if len(h.processes) >= maxProcesses {
			return
		}
		p = &Process{Instance: instance, Report: r} // what it has lost before, another hub may have counted
		h.processes[instance] = p
	}
	for reason, n := range r.Lost {
		if before := p.Lost[reason]; n > before {
			countReason(&h.stats.Lost, reason, n-before)
		}
	}
	p.Service, p.Seen, p.Report = service, time.Now(), r
}

// bounded returns counts by reason that are not too many.
func bounded(counts map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for reason, n := range counts {
		countReason(&out, reason, n)
	}
	return out
}

// forget removes processes that do not report. h.mu is held.
func (h *Hub) forget() {
	maps.DeleteFunc(h.processes, func(_ string, p *Process) bool { return time.Since(p.Seen) > forgetProcess })
}

// Kept is a trace that is kept.
type Kept struct {
	Announcement
	Service string    `json:"service,omitempty"` // which has decided it, or "" for somebody who has asked
	Time    time.Time `json:"time"`              // when it was announced
}

// HubStats says what a [Hub] has passed on.
type HubStats struct {
	// Announced counts what processes have announced, and Repeated those of them that were known already.
	Announced uint64 `json:"announced"`
	Repeated  uint64 `json:"repeated"`
	// Kept counts the traces that are kept, by reason.
	Kept map[string]uint64 `json:"kept"`
	// Lost counts kept traces whose spans a process has not sent, by reason: see LostOverwritten and the others. What a
	// process had lost when it reported first is not counted.
	Lost map[string]uint64 `json:"lost"`
	// Hold is how long everything is kept from now on, in nanoseconds.
	Hold  time.Duration `json:"hold"`
	Rules []Rule        `json:"rules"`
	// Share is less than 1 while more traces are announced than HubOptions.Limit: see [Recorder.SetShare].
	Share float64 `json:"share"`
	// Processes are those that have reported in the last five minutes, by service and instance.
	Processes []Process `json:"processes"`
}

// RingAge returns the least Report.RingAge of a process that has spans: all processes still have what began since then. If
// none has spans, it is 0.
func (s HubStats) RingAge() (least time.Duration) {
	for i := range s.Processes {
		if age := s.Processes[i].RingAge; age > 0 && (least == 0 || age < least) {
			least = age
		}
	}
	return least
}

// Stats returns the current counts. The caller owns them.
func (h *Hub) Stats() HubStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget()
	s := h.stats
	s.Kept, s.Lost = maps.Clone(s.Kept), maps.Clone(s.Lost)
	s.Hold = max(0, time.Until(h.hold))
	s.Share = h.share
	s.Rules = append([]Rule{}, h.rules...)
	s.Processes = []Process{}
	for _, p := range h.processes {
		s.Processes = append(s.Processes, *p)
	}
	slices.SortFunc(s.Processes, func(a, b Process) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Instance, b.Instance))
	})
	return s
}

// Kept returns the traces that were kept last, at most 1,000, the newest first.
func (h *Hub) Kept() []Kept {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.kept[max(0, len(h.kept)-maxKept):])
	slices.Reverse(out)
	return out
}

// Find returns the announcement of a trace, and whether there was one. If it was long ago, only the trace id is known.
func (h *Hub) Find(id dendro.TraceID) (k Kept, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range slices.Backward(h.kept) {
		if k.TraceID == id {
			return k, true
		}
	}
	return Kept{Announcement: Announcement{TraceID: id}}, h.known.get(id) != unknown
}
