package simulation

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/server"
)

const (
	// A message takes 2 ms in the median and 50 ms in one of a hundred cases; its logarithm is normally distributed.
	medianDelay = 2 * time.Millisecond
	maxDelay    = time.Second
)

var delaySigma = math.Log(25) / 2.3263 // the 99th percentile of the normal distribution

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
)

// network carries requests from processes to the collector and answers back. Both are late, and some are lost, which
// the process learns as late as it would have had the answer.
type network struct {
	loss      float64
	collector atomic.Pointer[collectorProcess] // nil while there is none

	spans, messages, news, operations atomic.Int64 // bytes of bodies, by what they are
	lost                              atomic.Int64

	mu     sync.Mutex
	random *rand.Rand // guarded by mu
}

func newNetwork(seed uint64, loss float64) *network {
	return &network{loss: loss, random: rand.New(rand.NewPCG(seed, 0x6e6574))}
}

// collectorProcess is the collector until it is killed.
type collectorProcess struct {
	hub     *keep.Hub
	handler http.Handler
	killed  context.Context
	kill    context.CancelFunc
}

func (n *network) startCollector(s *store) {
	hub, err := keep.NewHub(keep.HubOptions{})
	if err != nil {
		panic(err) // there are no rules that could be wrong
	}
	c := &collectorProcess{hub: hub, handler: server.New(s, server.Options{Keep: hub})}
	c.killed, c.kill = context.WithCancel(context.Background())
	n.collector.Store(c)
}

func (n *network) killCollector() {
	n.collector.Swap(nil).kill()
}

// link is the network as a process sees it. Once its context is done, nothing passes.
type link struct {
	*network
	killed context.Context
}

// RoundTrip implements [http.RoundTripper].
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		_ = req.Body.Close()
	}
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(l.killed, cancel)()
	arrives := l.travel(ctx)
	c := l.collector.Load()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case c == nil:
		return nil, errRefused
	case !arrives:
		return nil, errReset
	}
	defer context.AfterFunc(c.killed, cancel)()
	switch req.URL.Path {
	case keep.Path:
		l.messages.Add(int64(len(body)))
	case keep.OperationsPath:
		l.operations.Add(int64(len(body)))
	default:
		l.spans.Add(int64(len(body)))
	}
	received := req.Clone(ctx)
	received.Body = io.NopCloser(strings.NewReader(string(body)))
	answer := httptest.NewRecorder()
	c.handler.ServeHTTP(answer, received)
	l.news.Add(int64(answer.Body.Len())) // other answers are empty
	arrives = l.travel(ctx)
	switch {
	case req.Context().Err() != nil:
		return nil, req.Context().Err()
	case ctx.Err() != nil || !arrives:
		return nil, errReset
	}
	return answer.Result(), nil
}

// travel waits until a message arrives, or ctx is done. It reports false if the message is lost.
func (n *network) travel(ctx context.Context) bool {
	n.mu.Lock()
	delay := time.Duration(float64(medianDelay) * math.Exp(delaySigma*n.random.NormFloat64()))
	lost := n.random.Float64() < n.loss
	n.mu.Unlock()
	if lost {
		n.lost.Add(1)
	}
	select {
	case <-time.After(min(delay, maxDelay)):
	case <-ctx.Done():
	}
	return !lost
}
