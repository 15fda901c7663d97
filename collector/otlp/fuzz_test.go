package otlp

import (
	"os"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// checkStable fails unless decoded batches stay the same when they are encoded and
// decoded again, in both encodings.
func checkStable(t *testing.T, batches []*dendro.Batch) {
	t.Helper()
	again, err := DecodeTraces(AppendTraces(nil, batches...))
	testkit.NoError(t, err)
	equal(t, "protobuf", again, batches)
	again, err = DecodeTracesJSON(AppendTracesJSON(nil, batches...))
	testkit.NoError(t, err)
	equal(t, "JSON", again, batches)
}

func FuzzDecodeTraces(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(unhex(f, smallTraces))
	f.Add(AppendTraces(nil, fullTraces()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if batches, err := DecodeTraces(data); err == nil {
			checkStable(t, batches)
		}
	})
}

func FuzzDecodeTracesJSON(f *testing.F) {
	senders, err := os.ReadFile("testdata/senders.json")
	testkit.NoError(f, err)
	f.Add(senders)
	f.Add(AppendTracesJSON(nil, fullTraces()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if batches, err := DecodeTracesJSON(data); err == nil {
			checkStable(t, batches)
		}
		keys := UnknownKeysJSON(data)
		for _, key := range keys {
			if len(keys) > maxUnknownKeys || len(key) > maxUnknownBytes {
				t.Errorf("unknown keys %q", keys)
			}
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(Result{Rejected: 3, Message: "late"}.AppendProto(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := DecodeResult(data); err == nil {
			again, err := DecodeResult(r.AppendProto(nil))
			testkit.NoError(t, err)
			testkit.Equal(t, "again", again, r)
		}
	})
}

func FuzzDecodeResultJSON(f *testing.F) {
	f.Add(Result{Rejected: 3, Message: "late"}.AppendJSON(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := DecodeResultJSON(data); err == nil {
			again, err := DecodeResultJSON(r.AppendJSON(nil))
			testkit.NoError(t, err)
			testkit.Equal(t, "again", again, r)
		}
	})
}

func FuzzDecodeStatus(f *testing.F) {
	f.Add(AppendStatus(nil, 14, "try later"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if code, message, err := DecodeStatus(data); err == nil {
			code2, message2, err := DecodeStatus(AppendStatus(nil, code, message))
			testkit.NoError(t, err)
			testkit.Equal(t, "code", code2, code)
			testkit.Equal(t, "message", message2, message)
		}
	})
}
