package remote

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/keep"
)

const (
	// keepInterval is the default of Options.Interval with Options.Keep: the trace should be whole soon.
	keepInterval = 50 * time.Millisecond
	// gather is how long the first announcement of a request waits for more.
	gather = 5 * time.Millisecond
	// newsWait is how long a request for news stays open.
	newsWait = 25 * time.Second
	// reportInterval is the time between reports of a process about itself, and operationsInterval that between
	// counts of operations.
	reportInterval     = 10 * time.Second
	operationsInterval = 15 * time.Second
	// leastInterval is the least time between two requests for news.
	leastInterval = 20 * time.Millisecond
	// manyAnswers is the number of answers after which a longer request for news is tried again, if one was cut.
	manyAnswers = 10
	// askAgain is when a collector is asked again that does not know the protocol.
	askAgain = 5 * time.Minute
)

// keeper connects a [keep.Recorder] to the collector.
type keeper struct {
	*keep.Recorder
	sender   *sender
	base     string // the address of the collector
	instance string
	resource atomic.Pointer[dendro.Resource] // of the last spans
	answered atomic.Bool                     // the collector has understood a request
	warnOnce sync.Once

	stop    context.CancelFunc
	running sync.WaitGroup
}

// queued is the queue of a client, behind the recorder.
type queued struct{ *Client }

// Collect implements [dendro.Collector].
func (q queued) Collect(b *dendro.Batch) error { return q.enqueue(b) }

// Flush implements [dendro.Flusher].
func (q queued) Flush(ctx context.Context) error { return q.flush(ctx) }

// keepFromEnv returns o, or options if the environment asks for it.
func keepFromEnv(o *keep.Options, getenv func(string) string) (*keep.Options, error) {
	if getenv("OTEL_TRACES_SAMPLER") != "dendro_retroactive" {
		return o, nil
	}
	var own keep.Options
	if o != nil {
		own = *o
	}
	if arg := getenv("OTEL_TRACES_SAMPLER_ARG"); arg != "" && own.Sample == 0 {
		share, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%q: want a number from 0 to 1", arg)
		}
		if own.Sample = share; share == 0 {
			own.Sample = -1
		}
	}
	return &own, nil
}

func newKeeper(c *Client, o keep.Options) (*keeper, error) {
	base, ok := strings.CutSuffix(c.sender.url, tracesPath)
	if !ok {
		return nil, fmt.Errorf("Options.Keep: the path of the endpoint must end in %s", tracesPath)
	}
	return &keeper{Recorder: keep.New(queued{c}, o), sender: c.sender, base: base, instance: cryptorand.Text()}, nil
}

// start runs the goroutines of k.
func (k *keeper) start() {
	ctx, stop := context.WithCancel(dendro.Untraced(context.Background()))
	k.stop = stop
	for _, run := range []func(context.Context){k.Run, k.announce, k.listen, k.report, k.sendOperations} {
		k.running.Go(func() { run(ctx) })
	}
}

// end ends the goroutines of k.
func (k *keeper) end() {
	k.stop()
	k.running.Wait()
}

// sayLast announces what is left, and sends the last counts, until ctx is done.
func (k *keeper) sayLast(ctx context.Context) {
	for {
		as := k.Announcements(keep.MaxAnnouncements)
		if len(as) == 0 {
			break
		}
		if k.tell(ctx, keep.Message{Keep: as}) != nil {
			k.Lose(keep.LostAnnouncements, uint64(len(as)))
			break
		}
	}
	if k.postOperations(ctx, k.TakeOperations()) != nil {
		k.Lose(keep.LostOperations, 1)
	}
}

// Collect implements [dendro.Collector].
func (k *keeper) Collect(b *dendro.Batch) error {
	if k.resource.Load() != b.Resource {
		k.resource.Store(b.Resource)
	}
	return k.Recorder.Collect(b)
}

// announce tells the collector which traces this process keeps.
func (k *keeper) announce(ctx context.Context) {
	most := keep.MaxAnnouncements
	for failures := 0; ctx.Err() == nil; {
		k.WaitAnnouncements(ctx)
		sleep(ctx, gather)
		as := k.Announcements(most)
		if len(as) == 0 {
			continue
		}
		switch err := k.tell(ctx, keep.Message{Keep: as}); {
		case err == nil:
			failures, most = 0, keep.MaxAnnouncements
		case isRefused(err) && len(as) > 1: // some of them are
			k.Unannounced(as)
			most = len(as) / 2
		case isRefused(err):
			k.Lose(keep.LostAnnouncements, 1)
		default:
			k.Unannounced(as)
			k.pause(ctx, failures, err)
			failures++
		}
	}
}

// pause waits before a request is made again. The time grows and is random, so that a collector that starts again is not
// asked by all processes at once.
func (k *keeper) pause(ctx context.Context, failures int, err error) {
	wait := spool.Backoff(failures)
	if errors.Is(err, errUnknownProtocol) && !k.answered.Load() {
		wait = askAgain
	}
	sleep(ctx, wait/2+time.Duration(rand.Int64N(int64(wait))))
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// report tells the collector now and then how the recorder is.
func (k *keeper) report(ctx context.Context) {
	for ctx.Err() == nil {
		stats := k.Recorder.Stats()
		_ = k.tell(ctx, keep.Message{Report: &stats.Report}) // the next one says the same
		sleep(ctx, reportInterval)
	}
}

// tell makes a request with a message.
func (k *keeper) tell(ctx context.Context, m keep.Message) error {
	m.Service, m.Instance = k.resource.Load().Service(), k.instance
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = k.request(ctx, http.MethodPost, keep.Path, jsonType, body, k.sender.timeout)
	return err
}

// sendOperations sends the counts of operations.
func (k *keeper) sendOperations(ctx context.Context) {
	for {
		sleep(ctx, operationsInterval)
		if ctx.Err() != nil {
			return
		}
		snapshot := k.TakeOperations()
		switch err := k.postOperations(ctx, snapshot); {
		case err == nil:
		case isRefused(err) || errors.Is(err, errUnknownProtocol):
			k.Lose(keep.LostOperations, 1)
		default:
			k.UntakeOperations(snapshot)
		}
	}
}

func (k *keeper) postOperations(ctx context.Context, snapshot []byte) error {
	_, err := k.request(ctx, http.MethodPost, keep.OperationsPath, "application/octet-stream", snapshot, k.sender.timeout)
	return err
}

// listen hears what other processes and the collector keep.
func (k *keeper) listen(ctx context.Context) {
	next, failures := "", 0
	wait, longest, answers := newsWait, newsWait, 0
	for ctx.Err() == nil {
		began := time.Now()
		news, err := k.ask(ctx, next, wait)
		if err != nil {
			if time.Since(began) > time.Second { // something in between may end requests that take long
				longest, answers = wait, 0
				wait = max(wait/2, time.Second)
			}
			if errors.Is(err, errUnknownProtocol) && !k.answered.Load() {
				k.warnOnce.Do(func() { slog.Warn("dendro: " + k.base + ": " + err.Error() + "; each process sends only its own part") })
			}
			k.pause(ctx, failures, err)
			failures++
			continue
		}
		failures = 0
		k.answered.Store(true)
		if answers++; answers >= manyAnswers {
			longest, answers = newsWait, 0
		}
		if 2*wait < longest || longest == newsWait {
			wait = min(2*wait, newsWait)
		}
		if news.Restarted && next != "" {
			k.Reannounce()
		}
		next = news.Next
		k.Keep(news.Keep)
		if news.Missed > 0 {
			k.Lose(keep.LostMissed, news.Missed)
		}
		if news.Changed {
			k.Hold(news.Hold)
			k.SetShare(news.Share)
			if err := k.SetRules(news.Rules); err != nil {
				slog.Warn("dendro: the collector has a rule that this program does not understand: " + err.Error())
			}
		}
		sleep(ctx, leastInterval-time.Since(began))
	}
}

// ask waits for news, for at most wait.
func (k *keeper) ask(ctx context.Context, next string, wait time.Duration) (keep.News, error) {
	query := url.Values{"next": {next}, "wait": {strconv.Itoa(int(wait / time.Second))}}
	body, err := k.request(ctx, http.MethodGet, keep.Path+"?"+query.Encode(), "", nil, wait+k.sender.timeout)
	if err != nil {
		return keep.News{}, err
	}
	news, err := keep.DecodeNews(body)
	if err == nil && news.Next == "" { // something else has answered
		err = errUnknownProtocol
	}
	return news, err
}

// errUnknownProtocol says that the collector is not one of dendro, or an older one.
var errUnknownProtocol = errors.New("the collector does not pass on which traces are kept")

// request makes a request to the collector, with the headers of those with spans.
func (k *keeper) request(ctx context.Context, method, path, contentType string, body []byte, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, k.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = k.sender.header.Clone()
	req.Header.Del("Content-Type")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := k.sender.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, keep.MaxNewsBytes))
	switch {
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed:
		return nil, errUnknownProtocol
	case res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusRequestEntityTooLarge || res.StatusCode == http.StatusUnsupportedMediaType:
		return nil, fmt.Errorf("%w: %w", errRefused, statusError(res, "", text))
	case res.StatusCode/100 != 2:
		return nil, statusError(res, "", text)
	}
	return text, err
}

// errRefused says that the collector never takes what was sent.
var errRefused = errors.New("refused")

func isRefused(err error) bool { return errors.Is(err, errRefused) }
