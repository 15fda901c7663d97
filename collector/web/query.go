package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// parseQuery parses the parameters of api/search and of the list page. They are those
// of Tempo (q or tags, minDuration, maxDuration, start, end, limit) and, for the form,
// service, name and error.
func parseQuery(v url.Values) (collector.Query, error) {
	var q collector.Query
	for _, part := range []struct {
		name string
		set  func(string) error
	}{
		{"limit", func(s string) (err error) {
			if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > collector.MaxLimit {
				return fmt.Errorf("%q is not a number from 1 to %d", s, collector.MaxLimit)
			}
			return nil
		}},
		{"start", func(s string) (err error) { q.Start, err = parseUnix(s); return err }},
		{"end", func(s string) (err error) {
			q.End, err = parseUnix(s)
			q.End = q.End.Add(time.Second) // includes traces that began in that second
			return err
		}},
		{"minDuration", func(s string) (err error) { q.MinDuration, err = parseDuration(s); return err }},
		{"maxDuration", func(s string) (err error) { q.MaxDuration, err = parseDuration(s); return err }},
		{"service", func(s string) error { q.Service = s; return nil }},
		{"name", func(s string) error { q.Name = s; return nil }},
		{"error", func(s string) (err error) {
			if q.ErrorsOnly, err = strconv.ParseBool(s); err != nil {
				return fmt.Errorf("%q is not true or false", s)
			}
			return nil
		}},
		{"tags", func(s string) error { return parseTags(&q, s) }},
		{"q", func(s string) error { return parseTraceQL(&q, s) }},
	} {
		if s := strings.TrimSpace(v.Get(part.name)); s != "" {
			if err := part.set(s); err != nil {
				return q, fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	if q.MaxDuration > 0 && q.MinDuration > q.MaxDuration {
		return q, errors.New("minDuration is longer than maxDuration")
	}
	return q, nil
}

func parseUnix(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<33 {
		return time.Time{}, fmt.Errorf("%q is not a time in Unix seconds", s)
	}
	return time.Unix(n, 0), nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 100ms or 1.5s", s)
	}
	return d, nil
}

// parseTags parses logfmt: key=value pairs, separated by spaces. A value with spaces
// is in double quotes.
func parseTags(q *collector.Query, s string) error {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		i := strings.IndexAny(s, "= \t\n")
		if i < 1 || s[i] != '=' {
			return fmt.Errorf("%q does not begin with key=value", s)
		}
		key := s[:i]
		s = s[i+1:]
		var value string
		if strings.HasPrefix(s, `"`) {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return fmt.Errorf("the value of %s has no closing quote", key)
			}
			value, _ = strconv.Unquote(quoted)
			s = s[len(quoted):]
			if s != "" && !strings.ContainsAny(s[:1], " \t\n") {
				return fmt.Errorf("a space is missing after the value of %s", key)
			}
		} else if end := strings.IndexAny(s, " \t\n"); end >= 0 {
			value, s = s[:end], s[end:]
		} else {
			value, s = s, ""
		}
		if err := addTag(q, key, value); err != nil {
			return err
		}
	}
	return nil
}

// addTag adds a logfmt condition. Its key may be an attribute or one of the intrinsics
// name and status.
func addTag(q *collector.Query, key, value string) error {
	switch key {
	case "name":
		return setOnce(&q.Name, key, value)
	case "error", "status":
		if value != "error" && value != "true" {
			return fmt.Errorf("%s=%s cannot be searched for, only %[1]s=error can", key, value)
		}
		q.ErrorsOnly = true
		return nil
	}
	return addAttribute(q, key, value)
}

// addAttribute adds the condition that an attribute has the given value.
func addAttribute(q *collector.Query, key, value string) error {
	if key == semconv.ServiceName {
		return setOnce(&q.Service, key, value)
	}
	q.Tags = append(q.Tags, slog.String(key, value))
	return nil
}

func setOnce(field *string, key, value string) error {
	if *field != "" && *field != value {
		return fmt.Errorf("%s is given twice: %q and %q", key, *field, value)
	}
	*field = value
	return nil
}
