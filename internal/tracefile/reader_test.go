package tracefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// reads returns how many spans each document has, and the error, if there is one.
func reads(r io.Reader, most int) string {
	var out []string
	for f := NewReader(r, most); ; {
		batches, err := f.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, " ")
		}
		if err != nil {
			return strings.Join(append(out, err.Error()), " ")
		}
		spans := 0
		for _, b := range batches {
			spans += len(b.Spans)
		}
		out = append(out, fmt.Sprint(spans))
	}
}

// request returns a request with n spans of one resource, whose attribute has a length.
func request(n, length int) []*dendro.Batch {
	b := &dendro.Batch{Resource: &dendro.Resource{Attributes: []slog.Attr{slog.String("k", strings.Repeat("x", length))}}}
	for i := range n {
		s := &dendro.SpanData{Scope: &dendro.Scope{}, Name: "span"}
		s.TraceID, s.SpanID = dendro.TraceID{1}, dendro.SpanID{1, byte(i)}
		b.Spans = append(b.Spans, s)
	}
	return []*dendro.Batch{b}
}

func delimit(message []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(message))), message...)
}

func TestReader(t *testing.T) {
	const long = "as OTLP protobuf: resourceSpans[0]: "
	one, two := otlp.AppendTraces(nil, request(1, 1)...), otlp.AppendTraces(nil, request(2, 1)...)
	lines := string(otlp.AppendTracesJSON(nil, request(1, 1)...)) + "\n" + string(otlp.AppendTracesJSON(nil, request(2, 1)...)) + "\n"
	for name, test := range map[string]struct{ in, want string }{
		"lines":                        {lines, "1 2"},
		"lines after blank ones":       {"\uFEFF\n \n" + lines + "\n\n", "1 2"},
		"a list after others":          {lines + `[{"traceId":"1","id":"2"}]`, "1 2 1"},
		"protobuf":                     {string(one) + string(two), "1 2"},
		"delimited":                    {string(delimit(one)) + string(delimit(two)), "1 2"},
		"delimited, empty in between":  {string(delimit(one)) + "\x00" + string(delimit(two)), "1 0 2"},
		"nothing":                      {"", "it is empty"},
		"cut in the second line":       {lines[:len(lines)-5], "1 it ends within a JSON value: unexpected EOF"},
		"not JSON in the second line":  {strings.Replace(lines, "\n{", "\n\n  [}", 1), "1 line 3 is not JSON: invalid character '}' looking for beginning of value"},
		"not JSON at the end of one":   {"{\"a\":\n]\n\n\n", "line 2 is not JSON: invalid character ']' looking for beginning of value"},
		"unknown in the third line":    {lines + "{\n}\n{}", "1 2 line 3: " + errUnknownFormat.Error()},
		"a wrong field":                {lines + `{"resourceSpans":7}`, "1 2 line 3: as OTLP JSON: resourceSpans[0]: want an array, got 7"},
		"cut in a message":             {string(one) + string(two[:len(two)-3]), fmt.Sprintf("1 it ends within a message of OTLP protobuf, after %d of %d bytes", len(two)-6, len(two)-3)},
		"cut in a length":              {string(one) + "\x0a", "1 it ends within a message of OTLP protobuf"},
		"cut in a delimited message":   {string(delimit(one)) + "\x05x", "1 it ends within a message of OTLP protobuf, after 1 of 5 bytes"},
		"no message of OTLP":           {string(one) + "\x0a\x02\x0a\x05", "1 " + long + "malformed, or cut short"},
		"a length that is not one":     {string(one) + "\x0a" + strings.Repeat("\xff", 11), "1 binary: varint overflows a 64-bit integer"},
		"a length that is never there": {string(one) + "\x0a\xff\xff\xff\xff\x7f", "1 a message of OTLP protobuf has 34359738367 bytes, and 1000000 are the most"},
		"text":                         {"trace id,name\n", "line 1 is not JSON: invalid character 'a' in literal true (expecting 'u')"},
	} {
		for how, r := range map[string]io.Reader{"whole": strings.NewReader(test.in), "in bytes": iotest.OneByteReader(strings.NewReader(test.in))} {
			if got := reads(r, 1_000_000); got != test.want {
				t.Errorf("%s, %s:\n got %s\nwant %s", name, how, got, test.want)
			}
		}
	}
	if got := reads(io.MultiReader(strings.NewReader(lines), iotest.ErrReader(errors.New("disk on fire"))), 1000); got != "1 2 disk on fire" {
		t.Errorf("an error of the file: %s", got)
	}
}

// The lengths at the start of a message may be any bytes, also those with which JSON begins.
func TestReaderTellsProtobufFromJSON(t *testing.T) {
	for spans := 1; spans < 6; spans++ {
		for length := range 200 {
			message := otlp.AppendTraces(nil, request(spans, length)...)
			want := fmt.Sprint(spans)
			testkit.Equal(t, fmt.Sprintf("%q", message[:8]), reads(bytes.NewReader(message), len(message)), want)
			delimited := delimit(message)
			testkit.Equal(t, fmt.Sprintf("%q", delimited[:8]), reads(bytes.NewReader(delimited), len(delimited)), want)
		}
	}
}

// A document is bounded, a file is not.
func TestReaderIsBounded(t *testing.T) {
	line := append(otlp.AppendTracesJSON(nil, request(3, 100)...), '\n')
	message := otlp.AppendTraces(nil, request(3, 100)...)
	many := strings.TrimSpace(strings.Repeat("3 ", 50))
	for name, document := range map[string][]byte{"JSON": line, "protobuf": message, "delimited": delimit(message)} {
		testkit.Equal(t, name, reads(bytes.NewReader(bytes.Repeat(document, 50)), len(document)), many)
	}
	longer := append(bytes.Repeat(line, 50), otlp.AppendTracesJSON(nil, request(30, 100)...)...)
	if got, want := reads(bytes.NewReader(longer), len(line)), fmt.Sprintf("%s line 51: a JSON value has more than %d bytes", many, len(line)); got != want {
		t.Errorf("a longer value:\n got %s\nwant %s", got, want)
	}
	if got, want := reads(bytes.NewReader(message), len(message)-4), fmt.Sprintf("a message of OTLP protobuf has %d bytes, and %[2]d are the most", len(message)-3, len(message)-4); got != want {
		t.Errorf("a longer message:\n got %s\nwant %s", got, want)
	}
}

// FuzzReader reads a file whole and in bytes.
func FuzzReader(f *testing.F) {
	message := otlp.AppendTraces(nil, request(2, 3)...)
	f.Add(message)
	f.Add(delimit(message))
	f.Add(otlp.AppendTracesJSON([]byte("\uFEFF\n"), request(1, 1)...))
	f.Add([]byte("[{\"traceId\":\"1\",\"id\":\"2\"}]\n{\"data\":[]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 16
		whole, slow := reads(bytes.NewReader(data), most), reads(iotest.OneByteReader(bytes.NewReader(data)), most)
		if whole != slow && len(data) < most {
			t.Errorf("whole: %s\nin bytes: %s", whole, slow)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	line := append(otlp.AppendTracesJSON(nil, request(10, 100)...), '\n')
	data := bytes.Repeat(line, 1000)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if got := reads(bytes.NewReader(data), 1<<20); len(got) != 1000*3-1 {
			b.Fatal(got)
		}
	}
}
