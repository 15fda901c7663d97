//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// encodeNative returns blocks of revision 0 of the native format, which is what the library writes,
// as blocks of another revision.
func encodeNative(blocks []byte, revision uint64) ([]byte, error) {
	in, out := chproto.NewReader(bytes.NewReader(blocks)), new(chproto.Buffer)
	for {
		block := proto.NewBlock()
		if err := block.Decode(in, 0); errors.Is(err, io.EOF) {
			return out.Buf, nil
		} else if err != nil {
			return nil, err
		}
		if err := block.Encode(out, revision); err != nil {
			return nil, err
		}
	}
}
