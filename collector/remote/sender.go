package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/internal/spool"
)

// Reasons for which accepted spans are dropped, besides those of package spool.
const (
	dropRejected    = "rejected"    // by the collector
	dropUnreachable = "unreachable" // not delivered within Options.MaxElapsed
	dropShutdown    = "shutdown"    // not delivered before Shutdown
)

// sender makes requests one at a time, and knows when the next may be made.
type sender struct {
	url                 string
	header              http.Header
	client              *http.Client
	closeIdle           func()
	compression         string // "gzip", "none", or "" for none
	timeout, maxElapsed time.Duration
	whileAway           string        // what becomes of spans while the collector is away
	hurry               chan struct{} // holds a token while a Flush is waiting

	// Used only by the sending goroutine.
	failures int       // attempts since the collector was reached
	next     time.Time // when the next attempt is due, if failures > 0
	asked    bool      // the collector asked to wait until then

	mu    sync.Mutex
	state state // guarded by mu
	stats Stats // guarded by mu; without the queue
}

// state is what the last response said about the collector.
type state uint8

const (
	stateOK state = iota
	stateRejecting
	stateUnreachable
)

func newSender(endpoint string, o Options, getenv func(string) string) (_ *sender, err error) {
	s := &sender{
		maxElapsed: positive(o.MaxElapsed, defaultMaxElapsed),
		whileAway:  "spans are queued, then dropped",
		hurry:      make(chan struct{}, 1),
	}
	if endpoint == "" {
		if err = checkProtocol(getenv); err != nil {
			return nil, err
		}
	}
	if s.url, err = resolveEndpoint(endpoint, getenv); err != nil {
		return nil, err
	}
	if s.timeout, err = resolveTimeout(o.Timeout, getenv); err != nil {
		return nil, err
	}
	if s.compression, err = resolveCompression(o.Compression, getenv); err != nil {
		return nil, err
	}
	if s.header, err = headerFromEnv(getenv); err != nil {
		return nil, err
	}
	s.header.Set("User-Agent", "dendro/"+dendro.Version)
	for key, values := range o.Header {
		for _, value := range values {
			if !validHeader(key, value) {
				return nil, fmt.Errorf("Options.Header: %q cannot be sent", key)
			}
		}
		s.header[http.CanonicalHeaderKey(key)] = slices.Clone(values)
	}
	s.header.Set("Content-Type", contentType)
	// A key without values is not sent. It makes net/http resend a request whose idle
	// connection turns out to be closed.
	s.header["Idempotency-Key"] = []string{}
	if err = s.setClient(o.HTTPClient, getenv); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sender) setClient(given *http.Client, getenv func(string) string) error {
	if given == nil {
		config, err := tlsFromEnv(s.url, getenv)
		if err != nil {
			return err
		}
		t := &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     config,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: s.timeout,
			IdleConnTimeout:     time.Minute,
		}
		s.client, s.closeIdle = &http.Client{Transport: t}, t.CloseIdleConnections
	} else {
		own := *given
		s.client, s.closeIdle = &own, func() {}
	}
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return nil
}

// backOff puts the next attempt off, at least for the time that the collector asked for.
func (s *sender) backOff(asked time.Duration) {
	wait := spool.Backoff(s.failures)
	s.failures++
	s.asked = asked > wait
	s.next = time.Now().Add(max(wait, min(asked, s.maxElapsed)))
}

// pause waits until the next attempt is due. It returns false if expiry, unless it is
// zero, is earlier. It returns early if ctx is done, and if hurry gets a token unless the collector asked
// for the pause.
func (s *sender) pause(ctx context.Context, expiry time.Time) bool {
	hurry := s.hurry
	if s.asked {
		hurry = nil
	}
	end := s.next
	if !expiry.IsZero() && expiry.Before(end) {
		end = expiry
	}
	select {
	case <-time.After(time.Until(end)):
		return !time.Now().Before(s.next)
	case <-hurry:
	case <-ctx.Done():
	}
	return true
}

// reached records that the collector has responded.
func (s *sender) reached() {
	s.failures = 0
	select {
	case <-s.hurry: // the collector is reachable, so nobody needs to hurry
	default:
	}
}

// delivered counts spans as sent, except those that the collector rejected.
func (s *sender) delivered(spans, wire int, a answer) {
	rejected := int(min(a.rejected, int64(spans)))
	if rejected > 0 {
		s.note(stateRejecting, fmt.Errorf("%d of %d spans: %s", rejected, spans, a.message))
		s.drop(dropRejected, rejected)
	} else if a.message != "" { // a warning
		s.note(stateOK, errors.New(a.message))
	} else {
		s.note(stateOK, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.SentSpans += uint64(spans - rejected)
	s.stats.SentRequests++
	s.stats.SentBytes += uint64(wire)
}

// note stores err, and logs it if the state of the collector has changed.
func (s *sender) note(now state, err error) {
	s.mu.Lock()
	before := s.state
	s.state, s.stats.LastError = now, err
	s.mu.Unlock()
	if now == before {
		return
	}
	switch now {
	case stateOK:
		slog.Info("dendro: " + s.url + " accepts spans again")
	case stateRejecting:
		slog.Warn(fmt.Sprintf("dendro: %s rejects spans: %v; they are dropped", s.url, err))
	case stateUnreachable:
		slog.Warn(fmt.Sprintf("dendro: cannot reach %s: %v; %s", s.url, err, s.whileAway))
	}
}

func (s *sender) drop(reason string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stats.Dropped == nil {
		s.stats.Dropped = map[string]uint64{}
	}
	s.stats.Dropped[reason] += uint64(n)
}
