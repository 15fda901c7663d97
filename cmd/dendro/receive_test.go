package main

import (
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestParseOrigins(t *testing.T) {
	for text, want := range map[string][]string{
		"":                             nil,
		"*":                            {"*"},
		"https://a.example, ,*":        {"https://a.example", "*"},
		"HTTPS://Shop.Example.com":     {"https://shop.example.com"},
		"https://a:443,http://a:80":    {"https://a", "http://a"},
		"https://a:80,http://a:443":    {"https://a:80", "http://a:443"},
		"http://[::1]:8080":            {"http://[::1]:8080"},
		"http://[::80]":                {"http://[::80]"},
		"moz-extension://0a-b":         {"moz-extension://0a-b"},
		"a.example":                    nil,
		"https://":                     nil,
		"https://:443":                 nil,
		"https://a:":                   nil,
		"https://a:b":                  nil,
		"https://a/":                   nil,
		"https://a?b":                  nil,
		"https://b@a":                  nil,
		"https://*.example":            nil,
		"https://bücher.example":       nil,
		"null":                         nil,
		"https://a.example https://b":  nil,
		"https://a.example,ftp:/wrong": nil,
	} {
		got, err := parseOrigins(text)
		testkit.Equal(t, text, got, want)
		testkit.Equal(t, text+": refused", err != nil, want == nil && text != "")
	}
}
