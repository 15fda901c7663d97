package main

import (
	"errors"
	"flag"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dendrotrace/dendro/collector/server"
)

// receiveFlags adds the flags for the limits of what is received.
func receiveFlags(flags *flag.FlagSet, o *server.Options) {
	*o = server.Options{
		MaxBodyBytes: 16 << 20, ReadTimeout: 30 * time.Second,
		MaxSpans: 100_000, MaxAttributes: 1000, MaxEvents: 1000, MaxLinks: 1000,
		MaxValueBytes: 64 << 10, MaxKeyBytes: 16 << 10, MaxNameBytes: 16 << 10,
	}
	flags.Var((*byteSize)(&o.MaxBodyBytes), "max-body", "largest `size` of the body of a request with spans")
	flags.Var((*byteSize)(&o.MaxDecompressedBytes), "max-decompressed", "largest `size` of the body of a request with spans when it is decompressed (default that of -max-body)")
	flags.Var((*byteSize)(&o.MaxInFlightBytes), "max-in-flight", "largest `size` of the bodies of all requests with spans that are being received; above it, clients are told to try again (default an eighth of -memory, at most 64MiB; at least what one request may take)")
	flags.DurationVar(&o.ReadTimeout, "body-timeout", o.ReadTimeout, "`time` in which the body of a request with spans must arrive")
	flags.Var((*positive)(&o.MaxSpans), "max-spans", "largest `number` of spans of a request")
	flags.Var((*positive)(&o.MaxAttributes), "max-attributes", "largest `number` of attributes of a span, an event, a link, a resource or a scope; further ones are dropped")
	flags.Var((*positive)(&o.MaxEvents), "max-events", "largest `number` of events of a span; further ones are dropped")
	flags.Var((*positive)(&o.MaxLinks), "max-links", "largest `number` of links of a span; further ones are dropped")
	flags.Var((*positive)(&o.MaxValueBytes), "max-value", "largest `number` of bytes of the value of an attribute and of a message; longer ones are cut")
	flags.Var((*positive)(&o.MaxKeyBytes), "max-key", "largest `number` of bytes of the key of an attribute; attributes with longer ones are dropped")
	flags.Var((*positive)(&o.MaxNameBytes), "max-name", "largest `number` of bytes of a name; longer ones are cut")
	flags.Func("cors-origin", "`origins` of web pages whose scripts may send spans, such as https://shop.example.com, with commas between them; * for all (default none)", func(text string) (err error) {
		o.AllowedOrigins, err = parseOrigins(text)
		return err
	})
}

// defaultInFlight returns the default of -max-in-flight. Besides the bodies, decoded spans and queries
// must find room beside the store.
func defaultInFlight(memory byteSize) int64 { return min(int64(memory)/8, 64<<20) }

// parseOrigins parses origins with commas between them. Blank ones are skipped.
func parseOrigins(text string) (origins []string, err error) {
	for origin := range strings.SplitSeq(text, ",") {
		if origin = strings.TrimSpace(origin); origin == "" {
			continue
		}
		if origin != "*" {
			if origin, err = parseOrigin(origin); err != nil {
				return nil, err
			}
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

// parseOrigin returns an origin as browsers write it (RFC 6454, section 6.2): in lower case, and without
// the default port.
func parseOrigin(text string) (string, error) {
	lower := strings.ToLower(text)
	u, err := url.Parse(lower)
	if err != nil || u.Hostname() == "" || lower != u.Scheme+"://"+u.Host || strings.HasSuffix(u.Host, ":") ||
		strings.Trim(u.Host, "abcdefghijklmnopqrstuvwxyz0123456789-._:[]") != "" {
		return "", fmt.Errorf("%q is no origin: want scheme://host or scheme://host:port, such as https://shop.example.com, with the host in ASCII, or * for all", text)
	}
	return strings.TrimSuffix(lower, map[string]string{"http": ":80", "https": ":443"}[u.Scheme]), nil
}

// positive is a flag for a number that is at least 1.
type positive int

func (p *positive) String() string { return strconv.Itoa(int(*p)) }

// Set implements [flag.Value].
func (p *positive) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errors.New("want a number of at least 1")
	}
	*p = positive(n)
	return nil
}

// receiverMetrics are the metrics of what is received.
type receiverMetrics struct{ *server.Handler }

var (
	receiverRequests = counter("dendro_requests_total", "Requests that send spans.", "protocol")
	receiverRefused  = counter("dendro_refused_requests_total", "Requests that were refused.", "protocol", "reason")
	receiverBytes    = counter("dendro_received_bytes_total", "Bytes of the bodies of requests, as they were sent.", "protocol")
	receiverInFlight = gauge("dendro_in_flight_bytes", "Bytes of bodies that are being received; -max-in-flight bounds them.")
	receiverSpans    = counter("dendro_received_spans_total", "Spans that were decoded.", "protocol")
	receiverStored   = counter("dendro_stored_spans_total", "Spans that were stored and acknowledged.", "protocol")
	receiverRejected = counter("dendro_rejected_spans_total", "Spans that were decoded but not stored, which the sender is told.", "protocol", "reason")
	receiverCut      = counter("dendro_limited_total", "Attributes, events and links that were dropped, and texts that were cut, because of the limits of a span.", "protocol", "what")
)

// Describe implements [prometheus.Collector].
func (m receiverMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []description{receiverRequests, receiverRefused, receiverBytes, receiverInFlight, receiverSpans, receiverStored, receiverRejected, receiverCut} {
		ch <- d.Desc
	}
}

// Collect implements [prometheus.Collector].
func (m receiverMetrics) Collect(ch chan<- prometheus.Metric) {
	s := m.Stats()
	receiverInFlight.send(ch, float64(s.InFlightBytes))
	for _, p := range s.Protocols {
		receiverRequests.send(ch, float64(p.Requests), p.Protocol)
		receiverBytes.send(ch, float64(p.Bytes), p.Protocol)
		receiverSpans.send(ch, float64(p.ReceivedSpans), p.Protocol)
		receiverStored.send(ch, float64(p.StoredSpans), p.Protocol)
		for reason, n := range p.RefusedRequests {
			receiverRefused.send(ch, float64(n), p.Protocol, reason)
		}
		for reason, n := range p.RejectedSpans {
			receiverRejected.send(ch, float64(n), p.Protocol, reason)
		}
		for what, n := range map[string]uint64{"attributes": p.DroppedAttributes, "events": p.DroppedEvents, "links": p.DroppedLinks, "texts": p.TruncatedTexts} {
			receiverCut.send(ch, float64(n), p.Protocol, what)
		}
	}
}
