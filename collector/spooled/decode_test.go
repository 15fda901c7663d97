package spooled

import (
	"bytes"
	"testing"

	"github.com/dendrotrace/dendro/collector/internal/spool"
	"github.com/dendrotrace/dendro/collector/otlp"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// Whatever a record has, it is an error or spans that can be written again.
func FuzzDecode(f *testing.F) {
	request := spool.Body{Parts: [][]byte{otlp.AppendTraces(nil, storetest.Data()[0])}}
	for _, b := range []spool.Body{request, request.Compress()} {
		f.Add(b.Parts[0], b.Gzip)
		f.Add(b.Parts[0][:b.Size()/2], b.Gzip)
	}
	f.Fuzz(func(t *testing.T, data []byte, gzip bool) {
		batches, _, err := decode(spool.Body{Parts: [][]byte{data}, Gzip: gzip})
		if err != nil {
			return
		}
		want := spool.Body{Parts: [][]byte{otlp.AppendTraces(nil, batches...)}}
		batches, size, err := decode(want.Compress())
		testkit.NoError(t, err)
		testkit.Equal(t, "size", size, want.Size())
		if got := otlp.AppendTraces(nil, batches...); !bytes.Equal(got, want.Parts[0]) {
			t.Errorf("%x is read as %x", want.Parts[0], got)
		}
	})
}
