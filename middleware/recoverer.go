package middleware

import "net/http"

// Recoverer returns a middleware that does as recoverer, chi's middleware.Recoverer for
// example, and besides records the panics of handlers inside on the span of the request:
// the value, the stack, and error.type. Without it the span of a middleware further out
// only has the status that recoverer sends.
//
//	r.Use(middleware.Trace)
//	r.Use(middleware.Recoverer(chimiddleware.Recoverer))
//
// Panics with [http.ErrAbortHandler] are left to recoverer. Outside of a traced request
// it does nothing but what recoverer does.
func Recoverer(recoverer func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler { return recoverer(panicRecorder{next}) }
}

// panicRecorder records panics of next and lets them go on.
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
