package pebblestore

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dendrotrace/dendro"
)

// Keys of the database. Numbers are big-endian.
//
//	0, "format"                        the format of the directory
//	0, "operations"                    the counts of operations, see counts.go
//	0, "gone"                          the last run that is gone, see keep.go
//	1, number (8)                      a chunk that was received
//	1, number (8), 'k'                 one from a run that is gone
//	1, number (8), 'o'                 counts of operations that were received, see counts.go
//	2, run (8), 'c', number (4)        a chunk of a run
//	2, run (8), 'f', number (4)        a page of the filter of a run
//	2, run (8), 'm'                    what is known about a run
//	2, run (8), 't', trace id (16)     where the trace is in the run
//
// The tables that the database makes of the first two never span a run, so that a run, whose table
// is made here, goes to the lowest level at once and is never written again.
const (
	kindFormat   = 0
	kindReceived = 1
	kindRun      = 2

	ofKept       = 'k'
	ofOperations = 'o'
	ofChunk      = 'c'
	ofFilter     = 'f'
	ofMeta       = 'm'
	ofTrace      = 't'
)

var formatKey = append([]byte{kindFormat}, "format"...)

func receivedKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindReceived}, number)
}

// ofReceived returns what a key of something that was received ends with: 0 if that is a chunk of new spans.
func ofReceived(key []byte) byte {
	if len(key) == len(receivedKey(0)) {
		return 0
	}
	return key[len(key)-1]
}

// runKey returns the first key of a run.
func runKey(run uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindRun}, run)
}

func runPartKey(run uint64, of byte) []byte { return append(runKey(run), of) }

func numberedKey(run uint64, of byte, number uint32) []byte {
	return binary.BigEndian.AppendUint32(runPartKey(run, of), number)
}

func traceKey(run uint64, id dendro.TraceID) []byte {
	return append(runPartKey(run, ofTrace), id[:]...)
}

// keysOf returns the keys of a run.
func keysOf(run uint64) pebble.KeyRange {
	return pebble.KeyRange{Start: runKey(run), End: runKey(run + 1)}
}
