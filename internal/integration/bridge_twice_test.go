package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"modernc.org/sqlite"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/middleware"
	"github.com/dendrotrace/dendro/sqldriver"
	"github.com/dendrotrace/dendro/transport"
)

const (
	ownScope = "github.com/dendrotrace/dendro"
	otelHTTP = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	otelSQL  = "github.com/XSAM/otelsql"
)

// If a request is traced by OpenTelemetry's packages and by ours, the outer one makes the span, on
// both sides, and what is below is below that.
func TestBridgeHTTPTwice(t *testing.T) {
	type middlewares = []func(http.Handler) http.Handler // the outer one first
	type transports = []func(http.RoundTripper) http.RoundTripper
	var recorder testkit.Recorder
	api := newBridge(t, &recorder, "shop")
	own := middleware.New(middleware.Options{Tracer: api.tracer})
	other := otelhttp.NewMiddleware("shop", otelhttp.WithTracerProvider(api.provider), otelhttp.WithPropagators(api.propagator))
	ownTransport := func(base http.RoundTripper) http.RoundTripper {
		return transport.New(base, transport.Options{Tracer: api.tracer})
	}
	otherTransport := func(base http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(base, otelhttp.WithTracerProvider(api.provider), otelhttp.WithPropagators(api.propagator))
	}
	for _, tc := range []struct {
		name           string
		middlewares    middlewares
		transports     transports
		server, client string // scopes
	}{
		{"ours outside", middlewares{own, other}, transports{ownTransport, otherTransport}, ownScope, ownScope},
		{"OpenTelemetry's outside", middlewares{other, own}, transports{otherTransport, ownTransport}, otelHTTP, otelHTTP},
		{"only ours", middlewares{own}, transports{ownTransport}, ownScope, ownScope},
		{"only OpenTelemetry's", middlewares{other}, transports{otherTransport}, otelHTTP, otelHTTP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			recorder.Reset()
			var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("by", "OpenTelemetry's API"))
				dendro.SpanFromContext(r.Context()).AddEvent("by ours")
				_, end := api.start(r.Context(), "handle")
				end()
				_, _ = io.WriteString(w, "ok")
			})
			for i := range tc.middlewares {
				handler = tc.middlewares[len(tc.middlewares)-1-i](handler)
			}
			server := testkit.Serve(t, "1.1", handler)
			base := http.RoundTripper(&http.Transport{DisableKeepAlives: true})
			for i := range tc.transports {
				base = tc.transports[len(tc.transports)-1-i](base)
			}
			ctx, end := api.start(t.Context(), "order")
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/orders", nil)
			testkit.NoError(t, err)
			response, err := (&http.Client{Transport: base}).Do(r)
			testkit.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			testkit.NoError(t, err)
			testkit.NoError(t, response.Body.Close())
			testkit.Equal(t, "body", string(body), "ok")
			end()
			server.Close() // the handler has ended

			spans := recorder.Spans()
			testkit.Equal(t, "tree", indented(spans, func(s testkit.Span) string { return s.Kind.String() }), "internal\n  client\n    server\n      internal")
			for _, s := range spans {
				switch s.Kind {
				case dendro.KindClient:
					testkit.Equal(t, "client", s.Scope.Name, tc.client)
					testkit.Equal(t, "status", s.Attr("http.response.status_code"), any(int64(200)))
				case dendro.KindServer:
					testkit.Equal(t, "server", s.Scope.Name, tc.server)
					testkit.Equal(t, "status", s.Attr("http.response.status_code"), any(int64(200)))
					testkit.Equal(t, "attribute of the handler", s.Attr("by"), any("OpenTelemetry's API"))
					testkit.Equal(t, "event of the handler", s.Event("by ours") != nil, true)
				}
			}
		})
	}
}

// If a statement is traced by otelsql and by sqldriver, the outer one makes the span.
func TestBridgeSQLTwice(t *testing.T) {
	type wrappers = []func(driver.Driver) driver.Driver // the outer one first
	var recorder testkit.Recorder
	api := newBridge(t, &recorder, "shop")
	own := func(d driver.Driver) driver.Driver {
		return sqldriver.WrapDriver(d, sqldriver.Options{Tracer: api.tracer})
	}
	other := func(d driver.Driver) driver.Driver {
		return otelsql.WrapDriver(d, otelsql.WithTracerProvider(api.provider), otelsql.WithSpanOptions(otelsql.SpanOptions{
			OmitConnResetSession: true, OmitRows: true, OmitConnectorConnect: true, // only calls that sqldriver has spans for
		}))
	}
	for _, tc := range []struct {
		name     string
		wrappers wrappers
		scope    string
	}{
		{"sqldriver outside", wrappers{own, other}, ownScope},
		{"otelsql outside", wrappers{other, own}, otelSQL},
		{"only sqldriver", wrappers{own}, ownScope},
		{"only otelsql", wrappers{other}, otelSQL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			recorder.Reset()
			d := driver.Driver(&sqlite.Driver{})
			for i := range tc.wrappers {
				d = tc.wrappers[len(tc.wrappers)-1-i](d)
			}
			db := sql.OpenDB(connector{d, filepath.Join(t.TempDir(), "shop.db")})
			defer db.Close()
			ctx, end := api.start(t.Context(), "order")
			_, err := db.ExecContext(ctx, "CREATE TABLE items (id INTEGER PRIMARY KEY)")
			testkit.NoError(t, err)
			_, err = db.ExecContext(ctx, "INSERT INTO items VALUES (1)")
			testkit.NoError(t, err)
			var id int
			testkit.NoError(t, db.QueryRowContext(ctx, "SELECT id FROM items").Scan(&id))
			testkit.Equal(t, "id", id, 1)
			if _, err := db.ExecContext(ctx, "INSERT INTO items VALUES (1)"); err == nil {
				t.Error("no error")
			}
			stmt, err := db.PrepareContext(ctx, "SELECT id FROM items WHERE id = ?")
			testkit.NoError(t, err)
			testkit.NoError(t, stmt.QueryRowContext(ctx, 1).Scan(&id))
			testkit.NoError(t, stmt.Close())
			tx, err := db.BeginTx(ctx, nil)
			testkit.NoError(t, err)
			_, err = tx.ExecContext(ctx, "DELETE FROM items")
			testkit.NoError(t, err)
			testkit.NoError(t, tx.Commit())
			end()

			var statements []string
			for _, s := range recorder.Spans() {
				if text, ok := s.Attr("db.query.text").(string); ok {
					statements = append(statements, text)
				}
				if s.Kind == dendro.KindClient {
					testkit.Equal(t, "scope of "+s.Name, s.Scope.Name, tc.scope)
				}
			}
			testkit.Equal(t, "statements", statements, []string{
				"CREATE TABLE items (id INTEGER PRIMARY KEY)", "INSERT INTO items VALUES (?)", "SELECT id FROM items", "INSERT INTO items VALUES (?)",
				"SELECT id FROM items WHERE id = ?", "SELECT id FROM items WHERE id = ?", // prepared and executed
				"DELETE FROM items",
			})
		})
	}
}

// Spans for other work than that of the span above are all made.
func TestBridgeNotTwice(t *testing.T) {
	var recorder testkit.Recorder
	api := newBridge(t, &recorder, "shop")
	db := sql.OpenDB(connector{otelsql.WrapDriver(&sqlite.Driver{}, otelsql.WithTracerProvider(api.provider), otelsql.WithSpanOptions(otelsql.SpanOptions{
		OmitConnResetSession: true, OmitRows: true, OmitConnectorConnect: true,
	})), filepath.Join(t.TempDir(), "shop.db")})
	defer db.Close()
	orders := grpc.NewServer(grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(api.provider), otelgrpc.WithPropagators(api.propagator))))
	grpc_testing.RegisterTestServiceServer(orders, shopServer{api: api})
	mux := http.NewServeMux()
	mux.Handle("/grpc.testing.TestService/", middleware.New(middleware.Options{Tracer: api.tracer})(orders)) // another span, of gRPC
	mux.Handle("/items", otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, byHand := api.provider.Tracer("shop").Start(r.Context(), "by hand", trace.WithSpanKind(trace.SpanKindServer))
		defer byHand.End()
		_, err := db.ExecContext(ctx, "CREATE TABLE items (id INTEGER PRIMARY KEY)")
		testkit.NoError(t, err)
	}), "items", otelhttp.WithTracerProvider(api.provider), otelhttp.WithPropagators(api.propagator)))
	addr := startReceiver(t, mux)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(api.provider), otelgrpc.WithPropagators(api.propagator))))
	testkit.NoError(t, err)
	defer conn.Close()
	base := &http.Transport{DisableKeepAlives: true}
	discover := roundTripper(func(r *http.Request) (*http.Response, error) { // asks a database for the address
		var n int
		testkit.NoError(t, db.QueryRowContext(r.Context(), "SELECT 1").Scan(&n))
		return base.RoundTrip(r)
	})
	client := &http.Client{Transport: transport.New(discover, transport.Options{Tracer: api.tracer})}

	ctx, end := api.start(t.Context(), "order")
	_, err = grpc_testing.NewTestServiceClient(conn).UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	testkit.NoError(t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/items", nil)
	testkit.NoError(t, err)
	response, err := client.Do(r)
	testkit.NoError(t, err)
	testkit.NoError(t, response.Body.Close())
	end()
	conn.Close()
	spans := recorder.Wait(t, 10)
	testkit.Equal(t, "tree", treeOf(spans), `internal order
  client grpc.testing.TestService/UnaryCall
    server POST /grpc.testing.TestService/
    server grpc.testing.TestService/UnaryCall
      internal look up
  client GET
    client sql.conn.query
    server GET /items
      server by hand
        client sql.conn.exec`)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// connector opens connections of a driver.
type connector struct {
	driver driver.Driver
	dsn    string
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if d, ok := c.driver.(driver.DriverContext); ok {
		inner, err := d.OpenConnector(c.dsn)
		if err != nil {
			return nil, err
		}
		return inner.Connect(ctx)
	}
	return c.driver.Open(c.dsn)
}

func (c connector) Driver() driver.Driver { return c.driver }
