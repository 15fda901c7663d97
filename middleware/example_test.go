package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/go-chi/chi/v5"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/middleware"
)

// printer is a collector that prints the names of spans.
type printer struct{}

func (printer) Collect(b *dendro.Batch) error {
	for _, s := range b.Spans {
		fmt.Println(s.Kind, s.Name, s.Status.Code)
	}
	return nil
}

// A chi application: one line traces all its routes.
func Example_chi() {
	dendro.SetDefault(dendro.New(dendro.Options{Service: "shop", Collector: printer{}}))
	defer dendro.SetDefault(nil)

	r := chi.NewRouter()
	r.Use(middleware.Trace)
	r.Route("/orders", func(r chi.Router) {
		r.Get("/{id}", func(w http.ResponseWriter, r *http.Request) {
			_, span := dendro.Start(r.Context(), "load order")
			defer span.End()
			fmt.Fprintln(w, "order", chi.URLParam(r, "id"))
		})
		r.Post("/", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "the shop is closed", http.StatusServiceUnavailable)
		})
	})

	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/orders/42", nil))
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/orders/", nil))
	// Output:
	// internal load order unset
	// server GET /orders/{id} unset
	// server POST /orders error
}

// Health checks are not worth a trace.
func ExampleNew() {
	tracer := dendro.New(dendro.Options{Service: "shop", Collector: printer{}})
	trace := middleware.New(middleware.Options{
		Tracer: tracer,
		Filter: func(r *http.Request) bool { return r.URL.Path != "/healthz" },
	})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /items/{id}", func(http.ResponseWriter, *http.Request) {})
	app := trace(mux)

	app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/healthz", nil))
	app.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/items/7", nil))
	// Output:
	// server GET /items/{id} unset
}
