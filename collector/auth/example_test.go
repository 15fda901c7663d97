package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/dendrotrace/dendro/collector/auth"
	"github.com/dendrotrace/dendro/collector/memory"
	"github.com/dendrotrace/dendro/collector/server"
	"github.com/dendrotrace/dendro/collector/web"
)

// A receiver and a page that are not for everybody.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	open := func(name, token string) *auth.Tokens { // a file that the operator has written
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("# a token a line\n"+token+"\n"), 0o600); err != nil {
			panic(err)
		}
		tokens, err := auth.Open(file)
		if err != nil {
			panic(err)
		}
		return tokens
	}
	writers, readers := open("writers", "a8f5f167f44f4964e6c998dee827110c"), open("readers", "03d0fe4f43dbf2c1a47e2ec3d2ab4b38")

	store := memory.New(memory.Options{})
	mux := http.NewServeMux()
	mux.Handle("/v1/traces", writers.Protect(server.New(store, server.Options{})))
	mux.Handle("/traces/", web.New(store, web.Options{Sessions: auth.NewSessions(readers)}))

	for _, token := range []string{"03d0fe4f43dbf2c1a47e2ec3d2ab4b38", "a8f5f167f44f4964e6c998dee827110c"} {
		r := httptest.NewRequest(http.MethodPost, "/v1/traces", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 401
	// 200
}
