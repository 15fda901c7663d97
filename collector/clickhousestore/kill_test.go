package clickhousestore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var kills = flag.Int("kills", 6, "TestKill: how often a collector or ClickHouse is killed")

// asCollector is a variable that makes the test binary a collector on loopback until it is killed: a DSN.
const asCollector = "DENDRO_TEST_COLLECTOR"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(asCollector); dsn != "" {
		s, err := Open(context.Background(), dsn, Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
		if err != nil {
			panic(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		fmt.Println(l.Addr())
		panic(http.Serve(l, server.New(s, server.Options{})))
	}
	os.Exit(m.Run())
}

// collectorProcess is a collector that can be killed.
type collectorProcess struct {
	cmd  *exec.Cmd
	addr string
}

func startCollector(t *testing.T, dsn string) *collectorProcess {
	t.Helper()
	c := &collectorProcess{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), asCollector+"="+dsn)
	var stderr bytes.Buffer
	c.cmd.Stderr = &stderr
	out, err := c.cmd.StdoutPipe()
	testkit.NoError(t, err)
	testkit.NoError(t, c.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the collector did not start: %v\n%s", err, &stderr)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

func (c *collectorProcess) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait() // it was killed
}

const requestSpans = 20

// request returns the spans of request n.
func request(n int, now time.Time) *dendro.Batch {
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("service.name", fmt.Sprint("service ", n%3))}}}
	for i := range requestSpans {
		s := &dendro.SpanData{Name: fmt.Sprint("span ", i), Start: now.UnixNano() + int64(i), End: now.UnixNano() + int64(1000*i), Attributes: []slog.Attr{slog.Int("request", n)}}
		binary.BigEndian.PutUint64(s.TraceID[:], uint64(n+1))
		binary.BigEndian.PutUint64(s.SpanID[:], uint64(n*requestSpans+i+1))
		b.Spans = append(b.Spans, s)
	}
	return b
}

// What two collectors acknowledged is in the table once, after they and ClickHouse were killed while they wrote. Clients
// send a request again after a second, to the other collector, until one takes it. -kills 50 takes longer.
func TestKill(t *testing.T) {
	engine := testkit.ClickHouse(t)
	dsn := engine.Database(t)
	var mu sync.Mutex
	var collectors [2]*collectorProcess
	for i := range collectors {
		collectors[i] = startCollector(t, dsn)
	}
	defer func() {
		for _, c := range collectors {
			c.kill()
		}
	}()
	var sent, again atomic.Int64
	ending, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	client := &http.Client{Timeout: 15 * time.Second}
	for c := range 3 {
		clients.Go(func() {
			for ending.Err() == nil {
				n := int(sent.Add(1)) - 1
				body := otlp.AppendTraces(nil, request(n, time.Now()))
				for try := c; ; try++ {
					mu.Lock()
					addr := collectors[try%2].addr
					mu.Unlock()
					res, err := client.Post("http://"+addr+"/v1/traces", "application/x-protobuf", bytes.NewReader(body))
					if err == nil {
						_ = res.Body.Close()
						if res.StatusCode == http.StatusOK {
							break
						}
					}
					if t.Context().Err() != nil {
						return
					}
					again.Add(1)
					select { // as clients do
					case <-time.After(time.Second):
					case <-t.Context().Done():
					}
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for n := range *kills {
		before := sent.Load()
		waitFor(t, func() bool { return sent.Load() > before+10 })
		time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond) // where it ends is random
		if n%3 == 2 {
			engine.Kill(t)
			engine.Start(t)
			continue
		}
		mu.Lock()
		c := collectors[n%2]
		mu.Unlock()
		c.kill()
		restarted := startCollector(t, dsn)
		mu.Lock()
		collectors[n%2] = restarted
		mu.Unlock()
	}
	stop()
	clients.Wait()
	s := open(t, dsn, Options{})
	var rows, spans, requests uint64
	testkit.NoError(t, s.row(t.Context(), "SELECT count(), uniqExact(TraceId, SpanId, Timestamp), uniqExact(TraceId) FROM "+s.t.traces(), nil, &rows, &spans, &requests))
	want := uint64(sent.Load())
	testkit.Equal(t, "requests", requests, want)
	testkit.Equal(t, "spans", spans, want*requestSpans)
	testkit.Equal(t, "rows", rows, want*requestSpans)
	for n := range int(want) {
		got, err := s.Trace(t.Context(), request(n, time.Time{}).Spans[0].TraceID, collector.TimeRange{})
		testkit.NoError(t, err)
		if got == nil || len(got.Spans) != requestSpans {
			t.Fatalf("request %d is not found by its id", n)
		}
	}
	t.Logf("%d requests, of which %d were sent again", want, again.Load())
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("waited for a minute")
		}
		time.Sleep(5 * time.Millisecond)
	}
}
