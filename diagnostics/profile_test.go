package diagnostics

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestProfileRefuses(t *testing.T) {
	d, _ := traced()
	for _, took := range []time.Duration{0, MinProfile - 1, MaxProfile + 1, -time.Hour} {
		err := d.Profile(t.Context(), io.Discard, "", took)
		if err == nil || !strings.Contains(err.Error(), "choose 1s to 1m0s") {
			t.Errorf("a profile of %s: %v", took, err)
		}
	}
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		t.Skip(err) // go test -cpuprofile
	}
	defer pprof.StopCPUProfile()
	if err := d.Profile(t.Context(), io.Discard, "", MinProfile); !errors.Is(err, ErrProfiling) {
		t.Errorf("a second profile: %v", err)
	}
	checkEmpty(t, d)
}

// Labels are on during a profile only. A sample belongs to the last name of its span, and go tool pprof
// shows that name.
func TestProfileUsesLastNames(t *testing.T) {
	d, tracer := traced()
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- d.Profile(ctx, &out, "GET /orders/{id}", MaxProfile) }()
	waitUntil(t, func() bool {
		select {
		case err := <-done:
			done <- err
			return true
		default:
			return d.mode.Load()&labeling != 0
		}
	})
	for _, name := range []string{"GET /orders/{id}", "other"} {
		_, span := tracer.Start(context.Background(), "GET")
		spin()
		span.SetName(name)
		span.End()
	}
	spin()
	cancel()
	if err := <-done; errors.Is(err, ErrProfiling) {
		t.Skip(err) // go test -cpuprofile
	} else {
		testkit.NoError(t, err)
	}
	testkit.Equal(t, "labels are on", d.mode.Load(), uint32(0))
	checkEmpty(t, d)

	file := filepath.Join(t.TempDir(), "profile.pb.gz")
	testkit.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	tags, err := exec.CommandContext(t.Context(), "go", "tool", "pprof", "-tags", file).CombinedOutput()
	testkit.NoError(t, err)
	if text := string(tags); !strings.Contains(text, "GET /orders/{id}") || strings.Contains(text, "other") || strings.Contains(text, "GET\n") {
		t.Errorf("go tool pprof -tags:\n%s", text)
	}
	if testing.Verbose() {
		t.Logf("%s", tags)
	}
}

// spin uses processor time for some samples, however busy the machine is.
func spin() {
	work := uint64(1)
	for range 300_000_000 {
		work += work >> 3
	}
	runtime.KeepAlive(work)
}

// message is a protobuf message of strings, numbers and messages by field.
func message(fields ...any) (out []byte) {
	for i := 0; i < len(fields); i += 2 {
		num := protowire.Number(fields[i].(int))
		switch v := fields[i+1].(type) {
		case int:
			out = protowire.AppendVarint(protowire.AppendTag(out, num, protowire.VarintType), uint64(v))
		case string:
			out = protowire.AppendString(protowire.AppendTag(out, num, protowire.BytesType), v)
		case []byte:
			out = protowire.AppendBytes(protowire.AppendTag(out, num, protowire.BytesType), v)
		}
	}
	return out
}

// The strings of plainProfile, by their places.
var plainStrings = []string{"", "span_id", "operation", "0a", "GET", "0b", "POST /pay", "tenant"}

// plainProfile has four samples: of the spans 0a and 0b, of an operation without a span, and of nothing.
func plainProfile() []byte {
	label := func(key, str int) []byte { return message(1, key, 2, str) }
	p := message(
		2, message(1, 1, 2, 10, 3, label(1, 3), 3, label(7, 3), 3, label(2, 4)),
		2, message(1, 1, 2, 20, 3, label(2, 6), 3, label(1, 5)),
		2, message(1, 2, 2, 30, 3, label(2, 6)),
		2, message(1, 2, 2, 40, 3, message(1, 7, 3, 12, 4, 7)),
		12, 10000000)
	for _, s := range plainStrings {
		p = append(p, message(6, s)...)
	}
	return append(p, message(99, "of the future")...)
}

func TestFilterProfile(t *testing.T) {
	label := func(key, str int) []byte { return message(1, key, 2, str) }
	rename := func(span, operation string) string {
		if span == "0a" {
			return "GET /orders/{id}"
		}
		return operation
	}
	end := func(samples ...[]byte) (p []byte) {
		for _, s := range samples {
			p = append(p, message(2, s)...)
		}
		p = append(p, message(12, 10000000)...)
		for _, s := range plainStrings {
			p = append(p, message(6, s)...)
		}
		return append(p, message(99, "of the future")...)
	}
	first := message(1, 1, 2, 10, 3, label(1, 3), 3, label(7, 3), 3, append(label(2, 4), message(2, len(plainStrings))...))
	second := message(1, 1, 2, 20, 3, label(2, 6), 3, label(1, 5))
	third := message(1, 2, 2, 30, 3, label(2, 6))
	fourth := message(1, 2, 2, 40, 3, message(1, 7, 3, 12, 4, 7))
	added := message(6, "GET /orders/{id}")
	for operation, want := range map[string][]byte{
		"":                 append(end(first, second, third, fourth), added...),
		"GET /orders/{id}": append(end(first), added...),
		"POST /pay":        end(second, third),
		"GET":              end(), // the name at the start is not the last one
		"none":             end(),
	} {
		got, err := filterProfile(plainProfile(), operation, rename)
		testkit.NoError(t, err)
		testkit.Equal(t, "profile of "+operation, got, want)
	}
	same, err := filterProfile(plainProfile(), "", func(_, operation string) string { return operation })
	testkit.NoError(t, err)
	testkit.Equal(t, "profile without changes", same, plainProfile())

	for text, raw := range map[string][]byte{
		"field 2 at byte 0":                {2<<3 | 2, 100, 1},
		"byte 0":                           {0x80},
		"sample: field 3":                  message(2, []byte{3<<3 | 2, 9}),
		"sample: label: field 1":           message(2, message(3, []byte{1 << 3, 0x80})),
		"sample: label: string 8 of a ":    append(message(2, message(3, label(8, 1))), plainProfile()...),
		"label: string 1000 of a table of": append(message(2, message(3, label(2, 1000))), plainProfile()...),
	} {
		_, err := filterProfile(raw, "", rename)
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one with %q", err, text)
		}
	}
}

func FuzzFilterProfile(f *testing.F) {
	f.Add(plainProfile(), "GET /orders/{id}")
	f.Add(plainProfile(), "")
	f.Add(message(2, message(3, message(1, 2, 2, 6))), "POST /pay")
	f.Fuzz(func(t *testing.T, raw []byte, operation string) {
		rename := func(span, operation string) string { return "last " + span + operation }
		out, err := filterProfile(raw, operation, rename)
		if err != nil {
			return
		}
		again, err := filterProfile(out, "", func(_, operation string) string { return operation })
		if err != nil {
			t.Fatalf("the result is not a profile: %v", err)
		}
		if !bytes.Equal(out, again) {
			t.Fatal("a profile of all operations is not the same")
		}
	})
}

// timeByOperation returns the nanoseconds of the samples of a profile by their label operation.
func timeByOperation(t testing.TB, compressed []byte) map[string]time.Duration {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(compressed))
	testkit.NoError(t, err)
	raw, err := io.ReadAll(in)
	testkit.NoError(t, err)
	var texts []string
	testkit.NoError(t, eachField(raw, func(num protowire.Number, _ protowire.Type, _, value []byte) error {
		if num == profileStringTable {
			texts = append(texts, string(value))
		}
		return nil
	}))
	f := filter{strings: texts, table: uint64(len(texts))}
	sums := map[string]time.Duration{}
	testkit.NoError(t, eachField(raw, func(num protowire.Number, _ protowire.Type, _, sample []byte) error {
		if num != profileSample {
			return nil
		}
		operation, took := "", time.Duration(0)
		err := eachField(sample, func(num protowire.Number, _ protowire.Type, _, value []byte) error {
			switch num {
			case 2: // the number of samples, then their nanoseconds; package pprof does not pack two
				nanos, _ := protowire.ConsumeVarint(value)
				took = time.Duration(nanos)
			case sampleLabel:
				key, text, err := f.label(value)
				if key == operationLabel {
					operation = text
				}
				return err
			}
			return nil
		})
		sums[operation] += took
		return err
	}))
	return sums
}

var _ dendro.Observer = (*Diagnostics)(nil)
