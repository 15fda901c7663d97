package pebblestore

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/internal/testkit"
)

var kills = flag.Int("kills", 10, "TestKill: number of processes to kill")

// asVictim is a variable that makes the test binary write to a store until it is killed: a directory
// and a seed.
const asVictim = "DENDRO_TEST_VICTIM"

// victim writes batches from a number on and prints the numbers of those that were acknowledged.
func victim(args string) {
	var dir string
	var seed, first uint64
	if _, err := fmt.Sscan(args, &seed, &first, &dir); err != nil {
		panic(err)
	}
	s, err := Open(dir, Options{headBytes: 64 << 10})
	if err != nil {
		panic(err)
	}
	var number atomic.Uint64
	number.Store(first)
	var out sync.Mutex
	for range 3 {
		go func() {
			for {
				n := number.Add(1)
				if err := s.Write(context.Background(), []*dendro.Batch{batchOf(seed, int(n))}); err != nil {
					panic(err)
				}
				out.Lock()
				_, err := os.Stdout.Write(binary.BigEndian.AppendUint64(nil, n))
				out.Unlock()
				if err != nil {
					panic(err)
				}
			}
		}()
	}
	select {}
}

// What was acknowledged is there after a process was killed, at a random moment, while it wrote. The
// next process writes to the same directory. -kills 50 takes longer.
func TestKill(t *testing.T) {
	seed := seedOf(t)
	r := rand.New(rand.NewPCG(seed, 2))
	dir, l := t.TempDir(), newLedger(seed)
	first := uint64(0)
	for range *kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %s", asVictim, seed, first, dir))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		testkit.NoError(t, err)
		testkit.NoError(t, cmd.Start())
		in, after := bufio.NewReader(out), 1+r.IntN(150)
		var record [8]byte
		for n := 0; ; n++ {
			if n == after {
				time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond) // where it ends is random
				testkit.NoError(t, cmd.Process.Kill())
			}
			if _, err := io.ReadFull(in, record[:]); err != nil {
				if n < after {
					t.Fatalf("the process ended by itself: %v", cmd.Wait())
				}
				break
			}
			number := binary.BigEndian.Uint64(record[:])
			l.add(int(number), time.Now())
			first = max(first, number)
		}
		_ = cmd.Wait() // it was killed
		first += 10    // some were written and not acknowledged
		s, err := Open(dir, Options{})
		testkit.NoError(t, err)
		l.check(t, s, time.Time{})
		testkit.NoError(t, s.Close())
		if t.Failed() {
			return
		}
	}
	s, err := Open(dir, Options{})
	testkit.NoError(t, err)
	l.resend(t, s)
	l.check(t, s, time.Time{})
	testkit.NoError(t, s.Close())
}
