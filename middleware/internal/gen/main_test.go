package main

import (
	"bytes"
	"os"
	"testing"
)

func TestUpToDate(t *testing.T) {
	got, err := os.ReadFile("../../writer_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, generate()) {
		t.Error("writer_gen.go is out of date: run go generate ./middleware")
	}
}
