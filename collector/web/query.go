package web

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dendrotrace/dendro/collector/traceql"
	"github.com/dendrotrace/dendro/internal/semconv"
)

// search is what api/search and the list page look for.
type search struct {
	*traceql.Query
	traceql.SearchOptions
}

// conditions gathers the conditions of a form. They become a query.
type conditions struct {
	service, name string
	tags          []string // about one span
	trace         []string // each about any span
	query         *traceql.Query
}

// parseSearch parses the parameters of api/search and of the list page. They are those of
// Tempo (q or tags, minDuration, maxDuration, start, end, limit, spss) and, for the form,
// service, name and error.
func parseSearch(v url.Values) (search, error) {
	var s search
	var c conditions
	var least, most time.Duration
	for _, part := range []struct {
		name string
		set  func(string) error
	}{
		{"limit", func(text string) (err error) { s.Limit, err = parseCount(text, traceql.MaxLimit); return err }},
		{"spss", func(text string) (err error) { s.Spans, err = parseCount(text, traceql.MaxSpans); return err }},
		{"start", func(text string) (err error) { s.Start, err = parseUnix(text); return err }},
		{"end", func(text string) (err error) {
			s.End, err = parseUnix(text)
			s.End = s.End.Add(time.Second) // includes traces that began in that second
			return err
		}},
		{"minDuration", func(text string) (err error) {
			least, err = parseDuration(text)
			c.trace = append(c.trace, "traceDuration >= "+least.String())
			return err
		}},
		{"maxDuration", func(text string) (err error) {
			most, err = parseDuration(text)
			if most > 0 {
				c.trace = append(c.trace, "traceDuration <= "+most.String())
			}
			return err
		}},
		{"service", func(text string) error { c.service = text; return nil }},
		{"name", func(text string) error { c.name = text; return nil }},
		{"error", func(text string) error {
			yes, err := strconv.ParseBool(text)
			if err != nil {
				return fmt.Errorf("%q is not true or false", text)
			}
			if yes {
				c.trace = append(c.trace, "status = error")
			}
			return nil
		}},
		{"tags", c.parseTags},
		{"q", func(text string) (err error) {
			if c.query, err = traceql.Parse(text); err == nil && c.query.IsMetrics() {
				return traceql.ErrMetrics
			}
			return err
		}},
	} {
		if text := strings.TrimSpace(v.Get(part.name)); text != "" {
			if err := part.set(text); err != nil {
				return s, fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	if most > 0 && least > most {
		return s, errors.New("minDuration is longer than maxDuration")
	}
	var err error
	s.Query, err = c.all()
	return s, err
}

func parseCount(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%q is not a number from 1 to %d", s, most)
	}
	return n, nil
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

// all returns the query for traces that satisfy all conditions.
func (c *conditions) all() (*traceql.Query, error) {
	var sets []string
	var origin []string
	if c.service != "" {
		origin = append(origin, "resource.service.name = "+strconv.Quote(c.service))
	}
	if c.name != "" {
		origin = append(origin, "name = "+strconv.Quote(c.name))
	}
	for _, conditions := range [][]string{origin, c.tags} {
		if len(conditions) > 0 {
			sets = append(sets, "{ "+strings.Join(conditions, " && ")+" }")
		}
	}
	for _, condition := range c.trace {
		sets = append(sets, "{ "+condition+" }")
	}
	q := c.query
	if len(sets) > 0 {
		form, err := traceql.Parse(strings.Join(sets, " && "))
		if err != nil {
			return nil, err
		}
		if q == nil {
			return form, nil
		}
		return q.And(form), nil
	}
	if q == nil {
		q = traceql.All()
	}
	return q, nil
}

// parseTags parses logfmt: key=value pairs, separated by spaces. A value with spaces is in
// double quotes.
func (c *conditions) parseTags(s string) error {
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
		if err := c.addTag(key, value); err != nil {
			return err
		}
	}
	return nil
}

// addTag adds a logfmt condition. Its key may be an attribute or one of the intrinsics name
// and status. Values are compared as text: 200 matches the number 200.
func (c *conditions) addTag(key, value string) error {
	switch key {
	case "name":
		return setOnce(&c.name, key, value)
	case semconv.ServiceName:
		return setOnce(&c.service, key, value)
	case "error", "status":
		if value != "error" && value != "true" {
			return fmt.Errorf("%s=%s cannot be searched for, only %[1]s=error can", key, value)
		}
		c.trace = append(c.trace, "status = error")
		return nil
	}
	c.tags = append(c.tags, "."+strconv.Quote(key)+" =~ "+strconv.Quote(regexp.QuoteMeta(value)))
	return nil
}

func setOnce(field *string, key, value string) error {
	if *field != "" && *field != value {
		return fmt.Errorf("%s is given twice: %q and %q", key, *field, value)
	}
	*field = value
	return nil
}
