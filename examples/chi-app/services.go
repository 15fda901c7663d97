package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// endpointDelays are the delays of the services that GET / calls one after the other.
var endpointDelays = []time.Duration{
	201 * time.Millisecond,
	202 * time.Millisecond,
	218 * time.Millisecond,
}

// slowService responds to GET requests for path with body, after a delay.
func slowService(path string, takes time.Duration, body string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if work(r.Context(), takes) == nil {
			io.WriteString(w, body)
		}
	})
	return mux
}

// serviceB calls service B1 before it responds.
func serviceB(client *http.Client, b1 string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /service2", func(w http.ResponseWriter, r *http.Request) {
		if err := get(r.Context(), client, b1+"/service3"); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if work(r.Context(), 20*time.Millisecond) == nil {
			io.WriteString(w, "service2 ok")
		}
	})
	return mux
}

// work represents work that takes some time. It returns an error if ctx is done
// earlier.
func work(ctx context.Context, takes time.Duration) error {
	select {
	case <-time.After(takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// get returns nil if the response for url has status 200.
func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	return nil
}
