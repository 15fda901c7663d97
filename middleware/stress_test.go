package middleware_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// counting is a collector that counts.
type counting struct{ spans atomic.Uint64 }

func (c *counting) Collect(b *dendro.Batch) error {
	c.spans.Add(uint64(len(b.Spans)))
	return nil
}

// everything is an app that does what handlers do. Below /proxy it is reached
// through itself.
func everything(self func() string, base http.RoundTripper) http.Handler {
	r := chi.NewRouter()
	r.Get("/short", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "short") })
	r.Get("/long", func(w http.ResponseWriter, _ *http.Request) {
		for range 16 {
			if _, err := w.Write(make([]byte, 16<<10)); err != nil {
				return
			}
		}
	})
	r.Get("/copied", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, bytes.NewReader(make([]byte, 256<<10)))
	})
	r.Get("/events", func(w http.ResponseWriter, r *http.Request) {
		for range 100 {
			if _, err := io.WriteString(w, "data: x\n\n"); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	r.Get("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	r.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("x") })
	r.Get("/abort", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	r.Get("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
			conn.Close()
		}
	})
	r.Post("/form", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = r.MultipartForm.RemoveAll() // a chi router keeps the form from the server
	})
	r.Post("/ignored", func(http.ResponseWriter, *http.Request) {})
	r.Post("/limited", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000)); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	proxy := &httputil.ReverseProxy{
		Transport: base,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			u, err := url.Parse(self())
			if err != nil {
				panic(err)
			}
			p.SetURL(u)
			p.Out.URL.Path = p.In.URL.Path[len("/proxy"):]
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	r.Handle("/proxy/*", proxy)
	return r
}

// A thousand requests at once, of which many are given up, leave nothing behind.
func TestNothingIsLeftBehind(t *testing.T) {
	const requests = 1000
	paths := []string{"/short", "/long", "/copied", "/events", "/silent", "/panic", "/abort", "/hijack", "/form", "/ignored", "/limited"}
	for _, version := range testkit.Protocols {
		t.Run(version, func(t *testing.T) {
			testkit.NoLeaks(t)
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			t.Setenv("TMP", temp)
			t.Setenv("TEMP", temp)

			var collected counting
			tracer := dendro.New(dendro.Options{Collector: &collected})
			proxied := http.DefaultTransport.(*http.Transport).Clone()
			var address string
			h := middleware.New(middleware.Options{Tracer: tracer})(
				everything(func() string { return address }, transport.New(proxied, transport.Options{Tracer: tracer})))
			s := testkit.Serve(t, version, h)
			address = s.URL
			client := s.Client()
			base := client.Transport.(*http.Transport)
			proxied.TLSClientConfig = base.TLSClientConfig.Clone()
			var open sync.Map // net.Conn
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err == nil {
					conn = &tracked{Conn: conn, open: &open}
					open.Store(conn, nil)
				}
				return conn, err
			}
			base.DialContext, proxied.DialContext = dial, dial
			client.Transport = transport.New(base, transport.Options{Tracer: tracer})

			var all sync.WaitGroup
			for i := range requests {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				all.Go(func() {
					path := paths[i%len(paths)]
					if i%3 == 0 {
						path = "/proxy" + path
					}
					someone(client, s.URL+path, random)
				})
			}
			all.Wait()
			client.CloseIdleConnections()
			proxied.CloseIdleConnections()
			s.Close()

			deadline := time.Now().Add(10 * time.Second)
			connections := func() (n int) {
				open.Range(func(any, any) bool { n++; return true })
				return n
			}
			for (tracer.Stats().Unfinished > 0 || connections() > 0) && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			stats := tracer.Stats()
			testkit.Equal(t, "connections", connections(), 0)
			testkit.Equal(t, "unfinished, waiting, ended twice", []uint64{stats.Unfinished, stats.Waiting, stats.EndedTwice}, []uint64{0, 0, 0})
			testkit.Equal(t, "written after the end", stats.WrittenAfterEnd, uint64(0))
			testkit.Equal(t, "delivered", stats.Delivered, stats.Started)
			testkit.Equal(t, "collected", collected.spans.Load(), stats.Started)
			if stats.Started < requests {
				t.Errorf("%d spans of %d requests", stats.Started, requests)
			}
			left, err := os.ReadDir(temp)
			testkit.NoError(t, err)
			testkit.Equal(t, "temporary files", fmt.Sprint(left), "[]")
		})
	}
}

// tracked is in open until it is closed.
type tracked struct {
	net.Conn
	open *sync.Map
}

func (c *tracked) Close() error {
	c.open.Delete(c)
	return c.Conn.Close()
}

// someone makes a request, and may not wait for the end of the response.
func someone(client *http.Client, target string, random *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		panic(err)
	}
	switch req.URL.Path[len(req.URL.Path)-5:] {
	case "/form", "nored", "mited":
		var form bytes.Buffer
		m := multipart.NewWriter(&form)
		file, _ := m.CreateFormFile("file", "a.bin")
		_, _ = file.Write(make([]byte, 8<<10))
		m.Close()
		var body io.Reader = &form
		if random.IntN(2) == 0 {
			body = io.MultiReader(body) // of unknown length
		}
		req, _ = http.NewRequestWithContext(ctx, http.MethodPost, target, body)
		req.Header.Set("Content-Type", m.FormDataContentType())
	case "ilent":
		time.AfterFunc(time.Duration(random.IntN(50))*time.Millisecond, cancel)
	default:
		if random.IntN(8) == 0 {
			time.AfterFunc(time.Duration(random.IntN(20))*time.Millisecond, cancel)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if random.IntN(3) > 0 || req.URL.Path[len(req.URL.Path)-5:] == "vents" {
		_, _ = io.CopyN(io.Discard, resp.Body, int64(random.IntN(800)))
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
}
