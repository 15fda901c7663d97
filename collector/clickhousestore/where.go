package clickhousestore

import (
	"log/slog"
	"strings"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/collector/internal/block"
)

// where returns the condition for spans that agree with h, as far as ClickHouse can find out: it may hold for others. It
// is empty if it holds for all.
func (t *tables) where(h *collector.SpanHints, p *params) string {
	var all []string
	for _, service := range h.Services {
		all = append(all, "ServiceName = "+p.text(service))
	}
	for _, name := range h.Names {
		all = append(all, "SpanName = "+p.text(name))
	}
	if h.Errors {
		all = append(all, "StatusCode IN ('Error', 'STATUS_CODE_ERROR')")
	}
	if h.MinDuration > 0 {
		all = append(all, "Duration >= toUInt64("+p.int(int64(h.MinDuration))+")")
	}
	for _, key := range h.Keys {
		all = append(all, hasKey(key, p))
	}
	for _, a := range h.Values {
		texts, ok := textsOf(a.Value)
		all = append(all, t.hasValue(a, texts, ok, p))
	}
	for _, a := range h.Texts {
		texts, ok := textsLike(a.Value.String())
		all = append(all, t.hasValue(a, texts, ok, p))
	}
	if !h.StartsAfter.IsZero() {
		all = append(all, "Timestamp >= "+p.time(block.UnixNano(h.StartsAfter)))
	}
	return strings.Join(all, " AND ")
}

// attributeMaps are the columns with attributes.
var attributeMaps = [...]string{"SpanAttributes", "ResourceAttributes"}

// hasKey returns the condition for spans with an attribute, on themselves or on their resources.
func hasKey(key string, p *params) string {
	if len(key) > block.MaxKey {
		return "1"
	}
	place := p.text(key)
	var any []string
	for _, column := range attributeMaps {
		any = append(any, "mapContains("+column+", "+place+")")
	}
	return "(" + strings.Join(any, " OR ") + ")"
}

// hasValue returns the condition for spans with an attribute that has one of some texts. If ok is false, it may have others.
func (t *tables) hasValue(a slog.Attr, texts []string, ok bool, p *params) string {
	if !ok || len(a.Key) > block.MaxKey {
		return hasKey(a.Key, p)
	}
	key := p.text(a.Key)
	var any []string
	for _, column := range attributeMaps {
		for _, text := range texts {
			value := p.text(text)
			// What ClickHouse finds in an index comes first: values, as it does not know pairs, or pairs as texts.
			indexed := "has(mapValues(" + column + "), " + value + ") AND mapContains(" + column + ", " + key + ")"
			if t.hasItems {
				indexed = "has(" + strings.TrimSuffix(column, "s") + "Items, " + p.text(a.Key+"="+text) + ")"
			}
			any = append(any, indexed+" AND arrayExists((k, v) -> k = "+key+" AND v = "+value+", mapKeys("+column+"), mapValues("+column+"))")
		}
	}
	return "(" + strings.Join(any, " OR ") + ")"
}

// selective reports how few spans agree with h, more or less.
func selective(h *collector.SpanHints) int {
	return 8*len(h.Values) + 8*len(h.Texts) + 4*len(h.Names) + 2*len(h.Services) + len(h.Keys)
}
