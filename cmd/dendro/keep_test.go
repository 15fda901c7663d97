package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dendrotrace/dendro"
	"github.com/dendrotrace/dendro/collector/keep"
	"github.com/dendrotrace/dendro/collector/remote"
	"github.com/dendrotrace/dendro/internal/testkit"
)

// keep runs "dendro keep" for a server and returns the exit code and what it prints.
func (s *running) keep(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(s.t.Context(), append([]string{"keep", "-addr", s.web}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

// "dendro keep" fetches a trace from the memory of a process, "dendro keep -hold" has it send everything, and
// "dendro keep -status" prints what was kept and why.
func TestKeep(t *testing.T) {
	testkit.NoLeaks(t)
	s := start(t, "-keep-rules", file(t, `slow-pay 7/min: { span.http.route = "/pay" }`))
	client, err := remote.Dial(s.otlp, remote.Options{Keep: &keep.Options{Sample: -1, Slow: -1}})
	testkit.NoError(t, err)
	tracer := dendro.New(dendro.Options{Service: "shop\x1b[31m", Collector: client})
	request := func() string {
		_, root := tracer.StartWith(context.Background(), "GET /cart", dendro.StartOptions{Kind: dendro.KindServer})
		root.End()
		return root.Context().TraceID.String()
	}
	first := request() // which is kept, as the first of its operation
	arrived := func(id string) bool { return status(t, user, s.web+"/api/traces/"+id, "", "") == 200 }
	waitFor(t, "the first trace", func() bool { return arrived(first) })
	ids := []string{request(), request()}
	waitFor(t, "a report of the process", func() bool {
		_, out, _ := s.keep("-status")
		return strings.Contains(out, "shop [31m")
	})
	testkit.Equal(t, "an ordinary trace is here", arrived(ids[0]), false)

	code, out, errs := s.keep(ids...)
	testkit.Equal(t, "keep "+errs, code, exitOK)
	testkit.Equal(t, "printed", out, ids[0]+"  1 spans\n"+ids[1]+"  1 spans\n")
	code, out, errs = s.keep("-timeout", "100ms", ids[0], "77")
	testkit.Equal(t, "code for a trace that nobody has", code, exitError)
	if !strings.Contains(out, "77  not found") || !strings.Contains(errs, "1 of 2 traces have not arrived in 100ms") {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}

	code, _, errs = s.keep("-hold", "5m")
	testkit.Equal(t, "hold "+errs, code, exitOK)
	waitFor(t, "a trace that is kept because everything is", func() bool { return arrived(request()) })
	code, out, errs = s.keep("-status")
	testkit.Equal(t, "status "+errs, code, exitOK)
	for _, want := range []string{"new 1, request 3", "everything, for another ", `slow-pay 7/min: { span.http.route = "/pay" }`, first, "GET /cart", "shop [31m"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, out, _ = s.keep("-status", "-o", "json")
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"coherence":`) {
		t.Errorf("JSON: %s", out)
	}
	_, metrics := ask(t, user, s.web+"/metrics", "", "")
	hasMetrics(t, metrics, `dendro_keep_traces_total{reason="new"} 1`, `dendro_keep_traces_total{reason="request"} 3`, "dendro_keep_announcements_total 5",
		"dendro_keep_repeated_announcements_total 1", "dendro_keep_processes 1", "dendro_keep_ring_age_seconds ", "dendro_keep_hold_seconds 2")

	code, _, _ = s.keep("-hold", "0s")
	testkit.Equal(t, "end of the hold", code, exitOK)
	if _, out, _ = s.keep("-status"); strings.Contains(out, "everything") {
		t.Errorf("the hold goes on:\n%s", out)
	}
	testkit.NoError(t, client.Shutdown(t.Context()))
	s.stop()
}

func TestKeepUsage(t *testing.T) {
	for args, problem := range map[string]string{
		"":                     "want ids of traces, -hold or -status, one of these",
		"-status 1":            "one of these",
		"-hold 5m -status":     "one of these",
		"-hold 2h":             "-hold 2h0m0s: want a time from 0s to 1h0m0s",
		"-hold -1s":            "want a time from 0s",
		"-timeout 0s 1":        "-timeout 0s: want more than zero",
		"-o xml -status":       "-o xml: want table or json",
		"1 -status":            `unexpected argument "-status": put flags before the ids`,
		"-addr localhost 1":    "want a URL such as",
		"-help":                "",
		"-hold soon":           "invalid value",
		"-token-file nowhere1": "one of these",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"keep"}, strings.Fields(args)...), &stdout, &stderr)
		testkit.Equal(t, args+": exit code", code, map[bool]int{true: exitOK, false: exitUsage}[args == "-help"])
		if !strings.Contains(stderr.String(), problem) {
			t.Errorf("%q: %q, want %q", args, stderr.String(), problem)
		}
	}
}

// Rules are read again after SIGHUP. Those of a file with an error are not used.
func TestKeepRulesAgain(t *testing.T) {
	testkit.NoLeaks(t)
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	name := file(t, "first: { duration > 1s }")
	s := start(t, "-keep-rules", name)
	rules := func() (names []string) {
		var status keep.HubStats
		_, body := ask(t, user, s.web+"/api/dendro/keep", "", "")
		testkit.NoError(t, json.Unmarshal([]byte(body), &status))
		for _, r := range status.Rules {
			names = append(names, r.Name)
		}
		return names
	}
	testkit.Equal(t, "rules", rules(), []string{"first"})
	testkit.NoError(t, os.WriteFile(name, []byte("first: { duration > }"), 0o600))
	hangUp(t)
	waitFor(t, "an error in the log", func() bool { return strings.Contains(s.stderr.String(), name+":1: rule first: ") })
	testkit.Equal(t, "rules after an error", rules(), []string{"first"})
	testkit.NoError(t, os.WriteFile(name, []byte("second: { duration > 1s }\nthird: { }"), 0o600))
	hangUp(t)
	waitFor(t, "the new rules", func() bool { return slices.Equal(rules(), []string{"second", "third"}) })
	s.stop()
}
