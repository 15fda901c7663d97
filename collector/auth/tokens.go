// Package auth decides whose requests a collector answers: those with a bearer token
// (RFC 6750), those of a browser in which somebody has logged in with one, or those from
// this machine.
package auth

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// Bounds of a file of tokens.
const (
	minTokenBytes = 16
	maxTokenBytes = 1024
	maxTokens     = 1000
	maxFileBytes  = 1 << 20
)

// Tokens are the bearer tokens in a file. Whoever has one of them is admitted. The methods are
// safe for concurrent use.
//
// The file has one token a line, of 16 to 1024 of the characters that RFC 6750 allows: letters,
// digits and -._~+/, and = at the end. There are 1 to 1000. Blank lines are skipped, and lines
// that start with #. Tokens are held as hashes, and no error has one in its text. What protects
// them from being guessed is that they are long and random, like the output of
// "openssl rand -hex 32".
type Tokens struct {
	file    string
	digests atomic.Pointer[[]digest]
	refused atomic.Uint64
}

// digest is the hash of a token or of the id of a session.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// Open reads the tokens in a file.
func Open(file string) (*Tokens, error) {
	t := &Tokens{file: file}
	return t, t.Reload()
}

// Reload reads the file again. If it returns an error, the tokens are those of before.
func (t *Tokens) Reload() error {
	f, err := os.Open(t.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	digests, err := parse(f)
	if err != nil {
		return fmt.Errorf("%s:%w", t.file, err)
	}
	t.digests.Store(&digests)
	return nil
}

// parse returns the digests of the tokens in r. An error starts with the number of the line, or
// with a space.
func parse(r io.Reader) (digests []digest, err error) {
	limited := &io.LimitedReader{R: r, N: maxFileBytes + 1}
	lines := bufio.NewScanner(limited)
	for n := 1; lines.Scan(); n++ {
		token := string(bytes.TrimSpace(lines.Bytes()))
		switch {
		case token == "" || token[0] == '#':
			continue
		case len(token) < minTokenBytes:
			return nil, fmt.Errorf("%d: the token is too short: want at least %d characters, such as the output of openssl rand -hex 32", n, minTokenBytes)
		case len(token) > maxTokenBytes:
			return nil, fmt.Errorf("%d: the token has more than %d characters", n, maxTokenBytes)
		case !isToken(token):
			return nil, fmt.Errorf("%d: a token has letters, digits and -._~+/ only, and = at its end; there is one a line", n)
		case len(digests) == maxTokens:
			return nil, fmt.Errorf("%d: there are more than %d tokens", n, maxTokens)
		}
		digests = append(digests, digestOf(token))
	}
	switch err := lines.Err(); {
	case limited.N == 0 || errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf(" want lines of tokens, with at most %d bytes in all", maxFileBytes)
	case err != nil:
		return nil, fmt.Errorf(" %w", err)
	case len(digests) == 0:
		return nil, errors.New(" there is no token in it")
	}
	return digests, nil
}

// isToken reports whether s is a b64token of RFC 6750, section 2.1.
func isToken(s string) bool {
	s = strings.TrimRight(s, "=")
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") == ""
}

// holds reports whether d is the digest of one of the tokens. The time that it takes does not
// depend on which of them it is like.
func (t *Tokens) holds(d digest) bool {
	found := 0
	for _, known := range *t.digests.Load() {
		found |= subtle.ConstantTimeCompare(known[:], d[:])
	}
	return found == 1
}

// Authorize reports whether r has one of the tokens: "Authorization: Bearer TOKEN".
func (t *Tokens) Authorize(r *http.Request) bool {
	ok := t.bears(r)
	if !ok {
		t.refused.Add(1)
	}
	return ok
}

func (t *Tokens) bears(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") && t.holds(digestOf(strings.TrimSpace(token)))
}

// Refused returns how many requests and logins were refused for want of a token.
func (t *Tokens) Refused() uint64 { return t.refused.Load() }

// Protect returns a handler that calls next for requests with one of the tokens, and for those with
// the method OPTIONS, because a browser that asks whether it may send a token does not send it yet.
// It answers others with status 401, and those of gRPC with its status UNAUTHENTICATED. It does
// not read their bodies.
func (t *Tokens) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions || t.Authorize(r) {
			next.ServeHTTP(w, r)
			return
		}
		refuse(w, r)
	})
}

const unauthenticated = "want a token that may send: Authorization: Bearer TOKEN"

func refuse(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		// A response of trailers only ("gRPC over HTTP2", section "Responses").
		head := w.Header()
		head.Set("Content-Type", r.Header.Get("Content-Type"))
		head.Set("Grpc-Status", "16")
		head.Set("Grpc-Message", unauthenticated)
		return
	}
	Challenge(w.Header())
	http.Error(w, "401 unauthorized: "+unauthenticated, http.StatusUnauthorized)
}

// Challenge adds to the header of a response with status 401 that a bearer token is wanted
// (RFC 6750, section 3).
func Challenge(head http.Header) { head.Set("WWW-Authenticate", `Bearer realm="dendro"`) }
