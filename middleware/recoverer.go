package middleware

import "net/http"

// Recoverer returns a middleware that behaves like recoverer, for example chi's
// middleware.Recoverer, and records the panics of inner handlers on the span of the
// request, with value, stack and error.type. Without it, a span that began in a
// middleware further out only has the status that recoverer sends.
//
//	r.Use(middleware.Trace)
//	r.Use(middleware.Recoverer(chimiddleware.Recoverer))
//
// Panics with [http.ErrAbortHandler] are not recorded. For a request that is not
// traced, Recoverer only calls recoverer.
func Recoverer(recoverer func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return recoverer(panicRecorder{next}) }
}

// panicRecorder records the panics of next and repanics.
type panicRecorder struct{ next http.Handler }

func (h panicRecorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if x, _ := r.Context().Value(exchangeKey{}).(*exchange); x == nil {
		h.next.ServeHTTP(w, r)
	} else if !h.serve(x, w, r) {
		panic(nil) // as the handler did, see exchange.serve
	}
}

func (h panicRecorder) serve(x *exchange, w http.ResponseWriter, r *http.Request) (returned bool) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { //nolint:errorlint // as net/http compares
				x.recordPanic(p)
			}
			panic(p)
		}
	}()
	h.next.ServeHTTP(w, r)
	return true
}
