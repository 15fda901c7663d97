package integration

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
	gorilla "github.com/gorilla/websocket"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/transport"
)

// echoes are handlers that send back what they receive until the client closes.
var echoes = map[string]http.HandlerFunc{
	"gorilla": func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	},
	"coder": func(w http.ResponseWriter, r *http.Request) {
		conn, err := coder.Accept(w, r, &coder.AcceptOptions{CompressionMode: coder.CompressionContextTakeover})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, reader, err := conn.Reader(r.Context())
			if err != nil {
				return
			}
			writer, err := conn.Writer(r.Context(), kind)
			if err != nil {
				return
			}
			if _, err := io.Copy(writer, reader); err != nil || writer.Close() != nil {
				return
			}
		}
	},
}

// conversations are clients of echoes. The second uses an http.Client.
var conversations = map[string]func(ctx context.Context, t *testing.T, client *http.Client, url string, messages []string) (got []string){
	"gorilla": func(ctx context.Context, t *testing.T, _ *http.Client, url string, messages []string) (got []string) {
		conn, _, err := gorilla.DefaultDialer.DialContext(ctx, "ws"+strings.TrimPrefix(url, "http"), nil)
		testkit.NoError(t, err)
		defer conn.Close()
		for _, m := range messages {
			testkit.NoError(t, conn.WriteMessage(gorilla.TextMessage, []byte(m)))
			_, answer, err := conn.ReadMessage()
			testkit.NoError(t, err)
			got = append(got, string(answer))
		}
		testkit.NoError(t, conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "")))
		return got
	},
	"coder": func(ctx context.Context, t *testing.T, client *http.Client, url string, messages []string) (got []string) {
		conn, _, err := coder.Dial(ctx, url, &coder.DialOptions{HTTPClient: client})
		testkit.NoError(t, err)
		for _, m := range messages {
			testkit.NoError(t, conn.Write(ctx, coder.MessageText, []byte(m)))
			_, answer, err := conn.Read(ctx)
			testkit.NoError(t, err)
			got = append(got, string(answer))
		}
		testkit.NoError(t, conn.Close(coder.StatusNormalClosure, ""))
		return got
	},
}

func TestWebSocket(t *testing.T) {
	messages := []string{"hello", "", strings.Repeat("long ", 4_000), "bye"}
	for server, echo := range echoes {
		for name, talk := range conversations {
			t.Run(server+" server, "+name+" client", func(t *testing.T) {
				testkit.NoLeaks(t)
				tracer, recorder := testkit.NewTracer(t)
				r := chi.NewRouter()
				r.Use(middleware.New(middleware.Options{Tracer: tracer}))
				r.Get("/chat/{room}", echo)
				s := testkit.Serve(t, "1.1", r)
				client := &http.Client{Transport: transport.New(s.Client().Transport, transport.Options{Tracer: tracer})}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				testkit.Equal(t, "messages", talk(ctx, t, client, s.URL+"/chat/7", messages), messages)

				want := []string{"GET /chat/{room}"}
				if name == "coder" {
					want = []string{"GET", "GET /chat/{room}"}
				}
				spans := recorder.Wait(t, len(want))
				testkit.Equal(t, "names", testkit.Names(spans), want)
				last := spans[len(spans)-1]
				testkit.Equal(t, "hijacked", last.Attr("dendro.http.hijacked"), any(true))
				testkit.Equal(t, "why", last.Attr("http.request.header.upgrade"), any([]string{"websocket"}))
				if server == "coder" { // it uses WriteHeader; the other writes on the connection, which is not visible
					testkit.Equal(t, "code", last.Attr("http.response.status_code"), any(int64(101)))
				}
				testkit.Equal(t, "status", last.Status, dendro.Status{})
				if name == "coder" {
					testkit.Equal(t, "the client's code", spans[0].Attr("http.response.status_code"), any(int64(101)))
				}
			})
		}
	}
}
