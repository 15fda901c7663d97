package web

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// serveFunc serves a route. args are the path segments that match its {}.
type serveFunc func(h *handler, w http.ResponseWriter, r *http.Request, args []string)

// route is a pattern for the end of a path.
type route struct {
	pattern []string
	serve   serveFunc
}

// routes are such that no path matches two of them.
var routes = []route{
	{[]string{"trace", "{}"}, (*handler).trace},
	{[]string{"profile"}, (*handler).profile},
	{[]string{"dendro-assets", "{}", "{}"}, (*handler).asset},
	{[]string{"api", "echo"}, (*handler).echo},
	{[]string{"api", "status", "buildinfo"}, (*handler).buildInfo},
	{[]string{"api", "search"}, (*handler).search},
	{[]string{"api", "metrics", "query_range"}, (*handler).queryRange},
	{[]string{"api", "metrics", "query"}, (*handler).queryInstant},
	{[]string{"api", "search", "tags"}, (*handler).tags},
	{[]string{"api", "v2", "search", "tags"}, (*handler).tagScopes},
	{[]string{"api", "search", "tag", "{}", "values"}, (*handler).tagValues},
	{[]string{"api", "v2", "search", "tag", "{}", "values"}, (*handler).typedTagValues},
	{[]string{"api", "traces", "{}"}, (*handler).traceV1},
	{[]string{"api", "v2", "traces", "{}"}, (*handler).traceV2},
	{[]string{"api", "dendro", "tail"}, (*handler).tail},
	{[]string{"api", "dendro", "export"}, (*handler).export},
	{[]string{"api", "dendro", "operations"}, (*handler).operations},
	{[]string{"api", "dendro", "graph"}, (*handler).graph},
	{strings.Split(keepPath, "/"), (*handler).keepAPI},
	{[]string{"api", "dendro", "open"}, (*handler).open},
	{[]string{"api", "dendro", "traces", "{}"}, (*handler).rows},
	{[]string{"api", "dendro", "traces", "{}", "size"}, (*handler).size},
	{[]string{"api", "dendro", "traces", "{}", "match"}, (*handler).match},
	{[]string{"api", "dendro", "traces", "{}", "events"}, (*handler).events},
	{[]string{"api", "dendro", "traces", "{}", "spans", "{}"}, (*handler).span},
	{[]string{"api", "dendro", "traces", "{}", "spans", "{}", "links"}, (*handler).links},
	{[]string{"api", "dendro", "traces", "{}", "perfetto"}, (*handler).perfetto},
	{[]string{"api", "dendro", "traces", "{}", "html"}, (*handler).html},
	{[]string{"api", "dendro", "traces", "{}", "recording"}, (*handler).recording},
}

// match finds the route by the end of path, and returns that end. A handler cannot know where
// it is mounted: http.StripPrefix removes the prefix, and other routers do not.
func match(path string) (serve serveFunc, args []string, end string) {
	segments := strings.Split(path, "/")
	for _, r := range routes {
		from := len(segments) - len(r.pattern)
		if from < 0 {
			continue
		}
		args = nil
		if slices.EqualFunc(segments[from:], r.pattern, func(have, want string) bool {
			if want != "{}" {
				return have == want
			}
			arg, err := url.PathUnescape(have)
			args = append(args, arg)
			return err == nil && arg != ""
		}) {
			return r.serve, args, strings.Join(segments[from:], "/")
		}
	}
	return nil, nil, ""
}

// upFrom returns the relative path from a page to the mount point, which is where end begins.
func upFrom(end string) string { return strings.Repeat("../", strings.Count(end, "/")) }

// inImport matches what comes before the path of a page of an imported file.
var inImport = regexp.MustCompile(`(?:^|/)import/([0-9a-f]{32})(?:/|$)`)

// cutImport returns the token of an imported file in path, and the end of path that begins with
// import/, or "".
func cutImport(path string) (token, end string) {
	at := inImport.FindStringSubmatchIndex(path)
	if at == nil {
		return "", ""
	}
	return path[at[2]:at[3]], "import/" + path[at[2]:]
}
