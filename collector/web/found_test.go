package web

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/testkit"
)

func foundTraces() (out []traceql.Result) {
	for i := range 5 {
		var r traceql.Result
		r.TraceID, r.Start, r.Duration = dendro.TraceID{byte(i + 1)}, int64(i)*1e9, time.Duration(1)<<(10*i)
		r.RootService, r.RootName = "shop", fmt.Sprint("GET /", i%2)
		r.Services = []collector.ServiceSummary{{Service: "shop"}}
		if i == 3 {
			r.Errors = 1
			r.Services = append(r.Services, collector.ServiceSummary{Service: "bank"})
		}
		out = append(out, r)
	}
	return out
}

func TestScatter(t *testing.T) {
	s := newScatter(foundTraces())
	testkit.Equal(t, "first", fmt.Sprint(s.Points[0].X, s.Points[0].Y, s.Points[0].Failed), "0.00%99.18%false")
	testkit.Equal(t, "failed", fmt.Sprint(s.Points[3].X, s.Points[3].Failed, s.Points[3].Title), "75.00%trueshop GET /1, 1.07 s")
	testkit.Equal(t, "last", fmt.Sprint(s.Points[4].X, s.Points[4].Y), "100.00%0.82%")
	testkit.Equal(t, "two traces", newScatter(foundTraces()[:2]) == nil, true)
	same := foundTraces()
	for i := range same {
		same[i].Start, same[i].Duration = 7, 0
	}
	testkit.Equal(t, "all the same", fmt.Sprint(newScatter(same).Points[2].X, newScatter(same).Points[2].Y), "50%50.00%")
}

func TestFacets(t *testing.T) {
	text := func(form url.Values) (out string) {
		for _, f := range facetsOf(foundTraces(), form) {
			out += f.Title + ":"
			for _, v := range f.Values {
				q, err := url.ParseQuery(v.Query[1:])
				testkit.NoError(t, err)
				testkit.Equal(t, "limit", q.Get("limit"), form.Get("limit"))
				out += fmt.Sprintf(" %s %d %s", v.Text, v.Count, q.Get("q"))
			}
			out += "\n"
		}
		return out
	}
	testkit.Equal(t, "all", text(url.Values{"limit": {"50"}}), "Services: bank 1 { resource.service.name = \"bank\" }\n"+
		"Operations: GET /0 3 { trace:rootName = \"GET /0\" } GET /1 2 { trace:rootName = \"GET /1\" }\n"+
		"Status: with errors 1 { status = error }\n")
	testkit.Equal(t, "added to a query", text(url.Values{"q": {`{ resource.service.name = "bank" } && { status = error }`}}),
		"Operations: GET /0 3 ({ resource.service.name = \"bank\" } && { status = error }) && { trace:rootName = \"GET /0\" } GET /1 2 ({ resource.service.name = \"bank\" } && { status = error }) && { trace:rootName = \"GET /1\" }\n")
	testkit.Equal(t, "with a pipeline", len(facetsOf(foundTraces(), url.Values{"q": {"{ } | count() > 1"}})), 3)
	testkit.Equal(t, "none", len(facetsOf(nil, nil)), 0)
}
