package clickhousestore

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/storetest"
)

var databases atomic.Int64

func tempDSN(t *testing.T) string {
	base := os.Getenv("BASE")
	name := fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))
	exec := func(q string) {
		res, err := http.Post(base, "", strings.NewReader(q))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	exec("CREATE DATABASE " + name)
	t.Cleanup(func() { exec("DROP DATABASE " + name) })
	return base + "/" + name
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) collector.Store {
		s, err := Open(t.Context(), tempDSN(t), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
