package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// tokenVariable is the environment variable with the token of commands that ask or send.
const tokenVariable = "DENDRO_TOKEN"

// bearer is a flag for a file with the token that is sent with requests (RFC 6750).
type bearer struct{ file string }

func (b *bearer) flag(flags *flag.FlagSet, name, of string) {
	flags.StringVar(&b.file, name, "", "`file` whose first line is the token for "+of+"; by default $"+tokenVariable+" has it")
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
		from = b.file
		if token = firstLine(string(data)); token == "" {
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

// firstLine returns the first line that is neither blank nor a comment: the file may be the one
// with the tokens of a server.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}
