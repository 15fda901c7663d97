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
		if block.Rows() > 0 {
			if err := block.Encode(out, revision); err != nil {
				return nil, err
			}
			continue
		}
		if err := block.EncodeHeader(out, revision); err != nil {
			return nil, err
		}
		for _, c := range block.Columns { // without the prefix that EncodeColumn writes
			out.PutString(c.Name())
			out.PutString(string(c.Type()))
			if revision >= proto.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION {
				out.PutBool(false)
			}
		}
	}
}
