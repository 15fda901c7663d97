package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// tokenVariable is the environment variable with the token of commands that ask or send.
const tokenVariable = "DENDRO_TOKEN"

// bearer is a flag for a file with a token, which the program adds to its requests (RFC 6750).
type bearer struct{ file string }

func (b *bearer) flag(flags *flag.FlagSet) {
	flags.StringVar(&b.file, "token-file", "", "`file` with the token for requests; by default the token is in $"+tokenVariable)
}

// header returns the headers of requests. They are empty if there is no token.
func (b *bearer) header() (http.Header, error) {
	h := http.Header{}
	token, from := os.Getenv(tokenVariable), tokenVariable
	if b.file != "" {
		data, err := os.ReadFile(b.file)
		if err != nil {
			return nil, err
		}
		token, from = string(bytes.TrimSpace(data)), b.file
		if token == "" {
			return nil, fmt.Errorf("%s has no token", b.file)
		}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fmt.Errorf("%s: a token has no spaces, line breaks or special characters", from)
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}
