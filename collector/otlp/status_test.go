package otlp

import (
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
)

func TestDecodeStatus(t *testing.T) {
	code, message, err := DecodeStatus(AppendStatus(nil, 14, "no röom"))
	testkit.NoError(t, err)
	testkit.Equal(t, "code", code, int32(14))
	testkit.Equal(t, "message", message, "no röom")

	_, _, err = DecodeStatus([]byte{rpcStatusMessage << 3, 1})
	testkit.Equal(t, "error", err.Error(), "message: want wire type bytes, got varint")
}
