package clickhousestore

import (
	"testing"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/storetest"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func open(t *testing.T, dsn string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, o)
	testkit.NoError(t, err)
	t.Cleanup(func() { testkit.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) collector.Store {
		return open(t, testkit.ClickHouseDatabase(t), Options{})
	})
}
