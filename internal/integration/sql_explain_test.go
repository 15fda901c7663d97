package integration

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro/internal/testkit"
	"github.com/dendrotrace/dendro/sqldriver"
)

// testExplain checks the plan of a query and the comments on statements with a real
// database. query has one parameter, in the form of the driver. The plan must contain
// the words in plan.
func testExplain(t *testing.T, driver, dsn, query string, plan ...string) {
	t.Helper()
	tracer, recorder := testkit.NewTracer(t)
	db, err := sqldriver.Open(driver, dsn, sqldriver.Options{Tracer: tracer, Explain: 1, Comments: true})
	testkit.NoError(t, err)
	defer db.Close()
	for _, q := range []string{"DROP TABLE IF EXISTS plans", "CREATE TABLE plans (id INTEGER PRIMARY KEY, name VARCHAR(40))",
		"INSERT INTO plans VALUES (4711, 'secret'), (2, 'b')"} {
		_, err := db.Exec(q)
		testkit.NoError(t, err)
	}
	ctx, request := tracer.Start(context.Background(), "request")
	_, err = db.ExecContext(ctx, "UPDATE plans SET name = 'c' WHERE id = 2")
	testkit.NoError(t, err)
	var name string
	testkit.NoError(t, db.QueryRowContext(ctx, query, 4711).Scan(&name))
	testkit.Equal(t, "row", name, "secret")
	request.End()
	for _, s := range recorder.Wait(t, 4) {
		if s.Name != "EXPLAIN SELECT plans" {
			continue
		}
		got, _ := s.Attr("dendro.db.plan").(string)
		for _, want := range plan {
			if !strings.Contains(got, want) {
				t.Errorf("the plan has no %q:\n%s\n%v", want, got, s.Status)
			}
		}
		if strings.Contains(got, "4711") || strings.Contains(got, "secret") {
			t.Errorf("the plan has literals:\n%s", got)
		}
		return
	}
	t.Errorf("no plan: %v", testkit.Names(recorder.Spans()))
}

// testExplainWrites checks that EXPLAIN of query leaves the table calls as the query
// left it. The query calls a function that writes into that table.
func testExplainWrites(t *testing.T, driver, dsn, query string, setup ...string) {
	t.Helper()
	tracer, recorder := testkit.NewTracer(t)
	db, err := sqldriver.Open(driver, dsn, sqldriver.Options{Tracer: tracer, Explain: 1})
	testkit.NoError(t, err)
	defer db.Close()
	for _, q := range append([]string{"DROP TABLE IF EXISTS calls", "CREATE TABLE calls (id INTEGER)"}, setup...) {
		_, err := db.Exec(q)
		testkit.NoError(t, err)
	}
	calls := func() (n int) {
		testkit.NoError(t, db.QueryRow("SELECT count(*) FROM calls").Scan(&n))
		return n
	}
	testkit.NoError(t, db.QueryRow(query+" ").Scan(new(int))) // which pgx plans for itself
	once := calls()
	testkit.Equal(t, "the query writes", once > 0, true)
	ctx, request := tracer.Start(context.Background(), "request")
	testkit.NoError(t, db.QueryRowContext(ctx, query).Scan(new(int)))
	request.End()
	spans := recorder.Wait(t, 3)
	testkit.Equal(t, "calls", calls(), 2*once)
	if plan, _ := spans[2].Attr("dendro.db.plan").(string); !strings.Contains(plan, "25006") { // read-only transaction
		t.Errorf("plan: %s", plan)
	}
}

func TestExplainSQLite(t *testing.T) {
	testExplain(t, "sqlite", filepath.Join(t.TempDir(), "plans.db"),
		"SELECT name FROM plans WHERE id = ? AND name <> 'x'", "SEARCH plans", "PRIMARY KEY")
}
