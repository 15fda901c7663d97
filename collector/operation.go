package collector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dendrotrace/dendro"
)

// OperationReader reads how often operations ran, how long they took and who called whom.
// Spans are counted when they arrive, before any is dropped, so that the numbers are right for
// traces that are gone. A span that its sender sampled stands for as many as
// [dendro.TraceState.AdjustedCount] says.
//
// Counts are kept by the minute in which spans ended, for a day. A store with little memory
// may keep the older ones by five minutes, or not at all: see [OperationStats].
type OperationReader interface {
	// Operations calls visit for each operation that s selects and that has spans, ordered by service,
	// name and kind, until visit returns false. The operation is valid only until visit
	// returns. Operations returns the error of ctx if that is done.
	Operations(ctx context.Context, s OperationScan, visit func(*Operation) bool) error

	// Edges is Operations for the edges of the service graph, ordered by client and server.
	Edges(ctx context.Context, s OperationScan, visit func(*Edge) bool) error
}

// OperationWriter is a [Store] that takes counts that somebody else has made: processes that count
// all of their spans and send only some. The resource of the spans that they send has the attribute
// dendro.counted, so that the store does not count them again.
type OperationWriter interface {
	// WriteOperations adds the counts of a snapshot of package collector/operations. It may wait,
	// until ctx is done, and does not retain the snapshot.
	//
	// If WriteOperations returns nil, the counts are stored, as durably as spans after
	// [Writer.Write]. Unlike spans, a store does not recognize counts that it has: a snapshot
	// that is written twice counts twice. After an error that matches [ErrSnapshot], nothing
	// is stored, and never can be. After any other error, the counts may be stored or not.
	WriteOperations(ctx context.Context, snapshot []byte) error
}

// ErrSnapshot is matched by an error of [OperationWriter.WriteOperations] for a snapshot that cannot be read.
var ErrSnapshot = errors.New("the snapshot of operations cannot be read")

// OperationScan selects what an [OperationReader] reads.
type OperationScan struct {
	// Start and End bound the minutes: Start is rounded down to a minute, End up.
	Start, End time.Time
	// Step is the length of a point, rounded up to minutes. If it is zero, there are no
	// points. There are at most MaxPoints.
	Step time.Duration
	// Service and Name select the operations that have them, if they are not empty. Edges
	// have the service at one end and ignore the name.
	Service, Name string
}

// MaxPoints bounds the number of points of an operation.
const MaxPoints = 20_000

// ErrTooManyPoints is returned for a scan of more than MaxPoints points.
var ErrTooManyPoints = fmt.Errorf("more than %d points: choose a longer step", MaxPoints)

// Points returns the start of the first point, the step and the number of points. The last
// point may go beyond End.
func (s OperationScan) Points() (first time.Time, step time.Duration, n int) {
	start, end := s.Minutes()
	const longest = 1 << 24 * time.Minute
	step = (min(max(s.Step, 0), longest) + time.Minute - 1).Truncate(time.Minute)
	if step > 0 && end > start {
		minutes := int64(step / time.Minute)
		n = int((end - start + minutes - 1) / minutes)
	}
	return time.Unix(start*60, 0), step, n
}

// Minutes returns the bounds of s in minutes since the Unix epoch: start <= minute < end.
func (s OperationScan) Minutes() (start, end int64) {
	start, end = s.Start.Unix(), s.End.Unix()
	if s.End.Nanosecond() > 0 {
		end++
	}
	return floorMinute(start), floorMinute(end + 59)
}

func floorMinute(seconds int64) int64 {
	if seconds < 0 {
		seconds -= 59
	}
	return seconds / 60
}

// Counts describes spans that ended in some time.
type Counts struct {
	Spans, Errors float64
	Durations     Histogram
}

// Merge adds other to c.
func (c *Counts) Merge(other *Counts) {
	c.Spans += other.Spans
	c.Errors += other.Errors
	c.Durations.Merge(&other.Durations)
}

// Reset makes c empty, and keeps its memory.
func (c *Counts) Reset() {
	c.Spans, c.Errors = 0, 0
	c.Durations.Reset()
}

// Operation is what a service does under one name.
type Operation struct {
	Service, Name string
	Kind          dendro.Kind
	// Other marks the operation that has the spans of all operations that there was no room
	// for. It has no service, name and kind.
	Other  bool
	Total  Counts
	Points []Counts // one for each step, if there are any
}

// NodeKind is what a [Node] is.
type NodeKind string

// Kinds of nodes.
const (
	NodeService   NodeKind = "service"   // it sends spans
	NodeDatabase  NodeKind = "database"  // what client spans with db.system.name call
	NodeMessaging NodeKind = "messaging" // a queue or a topic
	NodePeer      NodeKind = "peer"      // a server that sends no spans
)

// Node is a node of the service graph.
type Node struct {
	Kind NodeKind
	// Name is the name of the service, the namespace or else the address of a database, the
	// name of a destination of messages, or the peer.service or else the address of a peer.
	Name string
	// System is the product, such as postgresql or kafka, of databases and messaging.
	System string
}

// Compare orders nodes by kind, name and system.
func (n Node) Compare(other Node) int {
	return cmp.Or(cmp.Compare(n.Kind, other.Kind), cmp.Compare(n.Name, other.Name), cmp.Compare(n.System, other.System))
}

// Edge says how often one node called another, and how long the client waited.
type Edge struct {
	Client, Server Node
	// Other marks the edge that has the calls of all edges that there was no room for.
	Other  bool
	Total  Counts   // errors are calls that failed for the client or the server
	Points []Counts // one for each step, if there are any
}

// OperationStats says what is behind the counts of operations.
type OperationStats struct {
	// Operations and Edges are the numbers of those that are kept apart.
	Operations, Edges int
	// Bytes is the memory or disk space in use. MaxBytes is its bound, or 0 for none.
	Bytes, MaxBytes int64
	// Complete is when the counts begin that have not been dropped to make room. It is zero
	// if none were. ByMinute is when those begin that are kept by the minute and not by five
	// minutes, or zero.
	Complete, ByMinute time.Time
	// OtherSpans is the number of spans and calls that were counted as [Operation.Other] or
	// [Edge.Other].
	OtherSpans uint64
	// Late is the number of spans that were not counted, because they ended more than a day
	// before they arrived.
	Late uint64
}
