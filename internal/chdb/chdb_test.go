//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// open connects to a database with clickhouse-go.
func open(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	opts, err := clickhouse.ParseDSN(dsn)
	testkit.NoError(t, err)
	conn, err := clickhouse.Open(opts)
	testkit.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exec runs statements.
func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// count returns the one number that a query returns.
func count(t *testing.T, conn driver.Conn, query string) int {
	t.Helper()
	var n uint64
	testkit.NoError(t, conn.QueryRow(t.Context(), query).Scan(&n))
	return int(n)
}

// row has the types of the tables that OpenTelemetry's exporter makes, and some more.
type row struct {
	Timestamp        time.Time
	TraceID          string `ch:"TraceId"`
	SpanName         string
	Attributes       map[string]string
	Duration         uint64
	EventTimes       []time.Time         `ch:"Events.Timestamp"`
	EventNames       []string            `ch:"Events.Name"`
	EventAttributes  []map[string]string `ch:"Events.Attributes"`
	Start            time.Time
	Pair             []any
	Big              *big.Int
	Fixed            string
	Nullable         *string
	Kind             string
	Ratio            float64
	Flag             bool
	LowCardinalities []string
}

const rowColumns = `
	Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
	TraceId String,
	SpanName LowCardinality(String),
	Attributes Map(LowCardinality(String), String),
	Duration UInt64,
	Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)),
	Start DateTime,
	Pair Tuple(String, Int64),
	Big UInt128,
	Fixed FixedString(4),
	Nullable Nullable(String),
	Kind Enum8('server' = 1, 'client' = 2),
	Ratio Float64,
	Flag Bool,
	LowCardinalities Array(LowCardinality(String))`

func TestTypes(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	text := "a text"
	now := time.Date(2026, 11, 30, 15, 0, 0, 123456789, time.UTC)
	full := row{
		Timestamp: now, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanName: "GET /", Duration: 1 << 63,
		Attributes:      map[string]string{"http.route": "/", "empty": ""},
		EventTimes:      []time.Time{now, now.Add(1)},
		EventNames:      []string{"exception", "retry"},
		EventAttributes: []map[string]string{{"a": "b"}, {}},
		Start:           now.Truncate(time.Second), Pair: []any{"left", int64(-1)},
		Big: new(big.Int).Lsh(big.NewInt(1), 127), Fixed: "four", Nullable: &text, Kind: "client", Ratio: 0.5, Flag: true,
		LowCardinalities: []string{"x", "y", "x"},
	}
	bare := row{
		Timestamp: now, Attributes: map[string]string{}, EventTimes: []time.Time{}, EventNames: []string{},
		EventAttributes: []map[string]string{}, Start: now.Truncate(time.Second), Pair: []any{"", int64(0)},
		Big: big.NewInt(1), Fixed: "none", Kind: "server", LowCardinalities: []string{},
	}
	for _, compression := range []string{"none", "lz4", "zstd", "gzip"} {
		t.Run(compression, func(t *testing.T) {
			conn := open(t, dsn+"?compress="+compression)
			exec(t, conn, "CREATE TABLE "+compression+" ("+rowColumns+") ENGINE = MergeTree ORDER BY TraceId")
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO "+compression)
			testkit.NoError(t, err)
			testkit.NoError(t, batch.AppendStruct(&bare))
			testkit.NoError(t, batch.AppendStruct(&full))
			testkit.NoError(t, batch.Send())
			var got []row
			testkit.NoError(t, conn.Select(t.Context(), &got, "SELECT * FROM "+compression+" ORDER BY TraceId"))
			for i := range got { // the location is another one with the same name
				got[i].Timestamp, got[i].Start = got[i].Timestamp.UTC(), got[i].Start.UTC()
				for j, at := range got[i].EventTimes {
					got[i].EventTimes[j] = at.UTC()
				}
			}
			testkit.Equal(t, "rows", got, []row{bare, full})
			var none []row
			testkit.NoError(t, conn.Select(t.Context(), &none, "SELECT * FROM "+compression+" WHERE Duration = 5"))
			testkit.Equal(t, "no rows", len(none), 0)
		})
	}
}

// A query's result may have many blocks.
func TestManyBlocks(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t)+"?compress=lz4")
	rows, err := conn.Query(t.Context(), "SELECT number FROM numbers(500_000)")
	testkit.NoError(t, err)
	var n, sum uint64
	for rows.Next() {
		var number uint64
		testkit.NoError(t, rows.Scan(&number))
		n, sum = n+1, sum+number
	}
	testkit.NoError(t, rows.Err())
	testkit.Equal(t, "rows and their sum", [2]uint64{n, sum}, [2]uint64{500_000, 124_999_750_000})
}

func TestErrors(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	exec(t, conn, "CREATE TABLE t (n UInt8) ENGINE = MergeTree ORDER BY n")
	for query, want := range map[string]int32{
		"SELECT nothing FROM t":         47,  // UNKNOWN_IDENTIFIER
		"SELECT * FROM nothing":         60,  // UNKNOWN_TABLE
		"SELECT 1 SETTINGS nothing = 1": 115, // UNKNOWN_SETTING
		"SELEC 1":                       62,  // SYNTAX_ERROR
		"1":                             62,
		"SELECT 1; SELECT 2":            62,
		"INSERT INTO t FORMAT JSONEachRow {\"n\": \"x\"}": 27, // CANNOT_PARSE_INPUT_ASSERTION_FAILED
	} {
		var ex *clickhouse.Exception
		if err := conn.Exec(t.Context(), query); !errors.As(err, &ex) || ex.Code != want {
			t.Errorf("%s: %v, want code %d", query, err, want)
		}
	}
}

func TestParameters(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	ctx := clickhouse.Context(t.Context(), clickhouse.WithParameters(clickhouse.Parameters{
		"text": `it's \ "quoted"`, "list": "[1,2]", "number": "18446744073709551615",
	}))
	var text string
	var sum, number uint64
	testkit.NoError(t, conn.QueryRow(ctx, "SELECT {text:String}, arraySum({list:Array(UInt64)}), {number:UInt64}").Scan(&text, &sum, &number))
	testkit.Equal(t, "text", text, `it's \ "quoted"`)
	testkit.Equal(t, "sum and number", [2]uint64{sum, number}, [2]uint64{3, 1<<64 - 1})
}

// The settings of a query do not outlive it.
func TestSettings(t *testing.T) {
	dsn := testkit.ClickHouseDatabase(t)
	conn := open(t, dsn+"?max_execution_time=60")
	const query = "SELECT toUInt64(getSetting('max_result_rows')), toUInt64(getSetting('max_execution_time'))"
	settings := func(ctx context.Context) (got [2]uint64) {
		t.Helper()
		testkit.NoError(t, conn.QueryRow(ctx, query).Scan(&got[0], &got[1]))
		return got
	}
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_result_rows": 7}))
	testkit.Equal(t, "settings of the query", settings(ctx), [2]uint64{7, 60})
	testkit.Equal(t, "settings of the next", settings(t.Context()), [2]uint64{0, 60})
	exec(t, conn, "SET max_result_rows = 7")
	testkit.Equal(t, "settings after SET", settings(t.Context()), [2]uint64{0, 60})
}

// One request inserts one block for each partition, and a block with a token that the table has
// seen is not inserted again.
func TestDeduplication(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	exec(t, conn, "CREATE TABLE t (day Date, n UInt64) ENGINE = MergeTree PARTITION BY day ORDER BY n SETTINGS non_replicated_deduplication_window = 100")
	insert := func(token string) {
		t.Helper()
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO t")
		testkit.NoError(t, err)
		for n := range uint64(100_000) {
			testkit.NoError(t, batch.Append(time.Date(2026, 11, 1+int(n%2), 0, 0, 0, 0, time.UTC), n))
		}
		testkit.NoError(t, batch.Send())
	}
	insert("a")
	insert("a")
	testkit.Equal(t, "rows after the same token twice", count(t, conn, "SELECT count() FROM t"), 100_000)
	testkit.Equal(t, "parts", count(t, conn, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND active"), 2)
	insert("b")
	testkit.Equal(t, "rows after another token", count(t, conn, "SELECT count() FROM t"), 200_000)
}

// What was inserted is still there after kill -9.
func TestKill(t *testing.T) {
	server := testkit.ClickHouse(t)
	conn := open(t, server.DSN())
	exec(t, conn, "CREATE DATABASE d", "CREATE TABLE d.t (n UInt64) ENGINE = MergeTree ORDER BY n", "INSERT INTO d.t VALUES (1), (2)")
	dsn := server.DSN()
	server.Kill(t)
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the server still answers")
	}
	server.Start(t)
	testkit.Equal(t, "DSN", server.DSN(), dsn)
	conn = open(t, server.DSN())
	testkit.Equal(t, "sum", count(t, conn, "SELECT sum(n) FROM d.t"), 3)
}

const slow = "SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1"

func TestMaxExecutionTime(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_execution_time": 1}))
	var ex *clickhouse.Exception
	if err := conn.Exec(ctx, slow); !errors.As(err, &ex) || ex.Code != 159 {
		t.Errorf("%v, want code 159, TIMEOUT_EXCEEDED", err)
	}
}

// As on a server, a client that goes away ends its query if a setting says so.
func TestClientGoesAway(t *testing.T) {
	conn := open(t, testkit.ClickHouseDatabase(t))
	waitFor := func(want int) {
		t.Helper()
		for start := time.Now(); ; {
			n := count(t, conn, "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'goes away'")
			if n == want {
				return
			}
			if time.Since(start) > 30*time.Second {
				t.Fatalf("%d queries run, want %d", n, want)
			}
		}
	}
	ctx, cancel := context.WithCancel(clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{
		"cancel_http_readonly_queries_on_client_close": 1, "log_comment": "goes away",
	})))
	ended := make(chan error)
	go func() { ended <- conn.Exec(ctx, slow) }()
	waitFor(1)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query ended with %v", err)
	}
	waitFor(0)
}

// Other clients need no parameters.
func TestPlainHTTP(t *testing.T) {
	dsn, err := url.Parse(testkit.ClickHouseDatabase(t))
	testkit.NoError(t, err)
	database := strings.TrimPrefix(dsn.Path, "/")
	send := func(query url.Values, body string) string {
		t.Helper()
		resp, err := http.Post("http://"+dsn.Host+"/?"+query.Encode(), "text/plain", strings.NewReader(body))
		testkit.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		testkit.NoError(t, err)
		return string(text) + resp.Header.Get("X-ClickHouse-Exception-Code")
	}
	in := func(query string) url.Values { return url.Values{"database": {database}, "query": {query}} }
	for _, test := range []struct {
		query      url.Values
		body, want string
	}{
		{nil, "SELECT 1, 'a'", "1\ta\n"},
		{in("SELECT 1"), "FORMAT JSONCompactColumns", "[\n\t[1]\n]\n"},
		{in("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n"), "", ""},
		{in("INSERT INTO t FORMAT JSONEachRow"), `{"n": 1, "s": "one"}` + "\n\n" + `{"n": 2, "s": "two"}`, ""},
		{in("INSERT INTO t VALUES"), "(3, 'three')", ""},
		{in(""), "INSERT INTO t (s, n) FORMAT CSV\nfour,4\n", ""},
		{in("INSERT INTO t SETTINGS log_comment = ' FORMAT CSV ' FORMAT TSV"), "5\tfive\n", ""},
		{in("INSERT INTO t VALUES (6, ' FORMAT CSV ')"), "", ""},
		{in("SELECT * FROM t ORDER BY n FORMAT JSONEachRow"), "", `{"n":1,"s":"one"}
{"n":2,"s":"two"}
{"n":3,"s":"three"}
{"n":4,"s":"four"}
{"n":5,"s":"five"}
{"n":6,"s":" FORMAT CSV "}
`},
		{url.Values{"default_format": {"CSV"}, "param_n": {"4"}}, "SELECT s FROM " + database + ".t WHERE n = {n:UInt64}", "\"four\"\n"},
		{in("INSERT INTO t FORMAT Unheard"), "7", "Code: 73. DB::Exception: Unknown format Unheard. (UNKNOWN_FORMAT) (version 26.7.2.1)\n73"},
	} {
		testkit.Equal(t, test.query.Encode()+" "+test.body, send(test.query, test.body), test.want)
	}
	resp, err := http.Get("http://" + dsn.Host + "/?" + in("INSERT INTO t VALUES (7, 'seven')").Encode())
	testkit.NoError(t, err)
	defer resp.Body.Close()
	testkit.Equal(t, "code of an INSERT with GET", resp.Header.Get("X-ClickHouse-Exception-Code"), "164") // READONLY
}
