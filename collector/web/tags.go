package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/dendrotrace/dendro/collector/traceql"
)

// intrinsics are the tags that are not attributes.
var intrinsics = traceql.IntrinsicNames()

// scopeNames are the scopes of tags in the order of the response.
var scopeNames = []string{"resource", "span", "event", "link", "instrumentation", "intrinsic"}

// filter returns the query of the parameter q. What cannot be parsed, because somebody is
// typing it, selects everything.
func filter(r *http.Request) *traceql.Query {
	q, err := traceql.Parse(r.URL.Query().Get("q"))
	if err != nil {
		return traceql.All()
	}
	return q
}

// window returns the parameters start and end, as zero times if there are none.
func window(r *http.Request) (start, end time.Time, err error) {
	s, err := parseSearch(url.Values{"start": r.URL.Query()["start"], "end": r.URL.Query()["end"]})
	return s.Start, s.End, err
}

// tagOptions returns the parameters start, end and limit.
func tagOptions(r *http.Request) (o traceql.TagOptions, err error) {
	if o.Start, o.End, err = window(r); err != nil {
		return o, err
	}
	if text := r.URL.Query().Get("limit"); text != "" {
		if o.Limit, err = parseCount(text, traceql.MaxValues); err != nil {
			err = fmt.Errorf("limit: %w", err)
		}
	}
	return o, err
}

// scopedTags returns the tag names of each requested scope. It sends an error response and
// returns false if it cannot.
func (h *handler) scopedTags(w http.ResponseWriter, r *http.Request) (scopes map[string][]string, stats traceql.Stats, ok bool) {
	o, err := tagOptions(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return nil, stats, false
	}
	only := r.URL.Query().Get("scope")
	if only == "all" || only == "none" {
		only = ""
	}
	o.Scope = only
	scopes, stats, err = filter(r).Keys(r.Context(), h.store, o)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return nil, stats, false
	}
	scopes["intrinsic"] = intrinsics
	if only != "" {
		scopes = map[string][]string{only: scopes[only]}
	}
	return scopes, stats, true
}

// tags serves api/search/tags.
func (h *handler) tags(w http.ResponseWriter, r *http.Request, _ []string) {
	scopes, stats, ok := h.scopedTags(w, r)
	if !ok {
		return
	}
	names := []string{}
	for _, tags := range scopes {
		names = append(names, tags...)
	}
	slices.Sort(names)
	answer(w, map[string]any{"tagNames": slices.Compact(names)}, stats)
}

// tagScopes serves api/v2/search/tags.
func (h *handler) tagScopes(w http.ResponseWriter, r *http.Request, _ []string) {
	scopes, stats, ok := h.scopedTags(w, r)
	if !ok {
		return
	}
	type scope struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	out := []scope{}
	for _, name := range scopeNames {
		if tags := scopes[name]; len(tags) > 0 {
			out = append(out, scope{name, tags})
		}
	}
	answer(w, map[string]any{"scopes": out}, stats)
}

// valuesOf returns the values of a tag. It sends an error response and returns false if it
// cannot.
func (h *handler) valuesOf(w http.ResponseWriter, r *http.Request, tag string) (values []traceql.Value, stats traceql.Stats, ok bool) {
	f, err := traceql.ParseField(tag)
	if err != nil { // the key of an attribute, as in tags
		f, err = traceql.ParseField("." + strconv.Quote(tag))
	}
	o, optionsErr := tagOptions(r)
	if err = errors.Join(err, optionsErr); err != nil {
		fail(w, http.StatusBadRequest, err)
		return nil, stats, false
	}
	if values, ok := traceql.KnownValues(f); ok {
		return values, stats, true
	}
	values, stats, err = filter(r).Values(r.Context(), h.store, f, o)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return nil, stats, false
	}
	return values, stats, true
}

// tagValues serves api/search/tag/{tag}/values.
func (h *handler) tagValues(w http.ResponseWriter, r *http.Request, args []string) {
	values, stats, ok := h.valuesOf(w, r, args[0])
	if !ok {
		return
	}
	texts := []string{}
	for _, v := range values {
		texts = append(texts, v.Text())
	}
	slices.Sort(texts)
	answer(w, map[string]any{"tagValues": slices.Compact(texts)}, stats)
}

// typeNames are Tempo's names of the types of values.
var typeNames = map[traceql.Type]string{
	traceql.TypeInt: "int", traceql.TypeFloat: "float", traceql.TypeBool: "bool", traceql.TypeDuration: "duration",
	traceql.TypeString: "string", traceql.TypeStatus: "keyword", traceql.TypeKind: "keyword",
}

// typedTagValues serves api/v2/search/tag/{tag}/values.
func (h *handler) typedTagValues(w http.ResponseWriter, r *http.Request, args []string) {
	values, stats, ok := h.valuesOf(w, r, args[0])
	if !ok {
		return
	}
	type typed struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	}
	out := make([]typed, len(values))
	for i, v := range values {
		out[i] = typed{typeNames[v.Type()], v.Text()}
	}
	answer(w, map[string]any{"tagValues": out}, stats)
}
