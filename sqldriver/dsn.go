package sqldriver

import (
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// source is what a data source name says about the data source. Uncertain parts are
// left out, so that no part of a password is recorded.
type source struct {
	namespace string // name of the database
	address   string // host name or path of a socket
	port      int
}

func parseDSN(system, dsn string) source {
	switch {
	case dsn == "":
		return source{}
	case system == "sqlite":
		return parseSQLite(dsn)
	case system == "mysql" || system == "mariadb":
		return parseMySQL(dsn)
	case system == "postgresql" || system == "cockroachdb":
		if scheme, _, ok := strings.Cut(dsn, "://"); !ok || strings.Contains(scheme, "=") {
			return parseKeyValues(dsn)
		}
	}
	return parseURL(system, dsn)
}

// parseURL parses scheme://user:password@host:port/database?options.
func parseURL(system, dsn string) source {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" || strings.Contains(u.Path+u.Fragment, "@") || u.User == nil && strings.Contains(dsn, "@") {
		return source{} // it may be part of a password that was not escaped
	}
	var s source
	s.setHost(u.Hostname(), u.Port())
	switch system {
	case "postgresql", "cockroachdb":
		s.namespace = strings.TrimPrefix(u.Path, "/")
		q := u.Query()
		if host := q.Get("host"); host != "" {
			s.setHost(host, q.Get("port"))
		}
		if name := q.Get("dbname"); name != "" {
			s.namespace = name
		}
	case "microsoft.sql_server":
		s.namespace = u.Query().Get("database")
	}
	return s
}

// parseKeyValues parses the format of libpq: key=value pairs with backslash escapes.
// Values with spaces are in single quotes.
func parseKeyValues(dsn string) source {
	values := map[string]string{}
	for {
		key, rest, ok := strings.Cut(strings.TrimLeft(dsn, " \t\r\n"), "=")
		if !ok {
			break
		}
		rest = strings.TrimLeft(rest, " \t\r\n")
		quoted := strings.HasPrefix(rest, "'")
		rest = strings.TrimPrefix(rest, "'")
		var value strings.Builder
		i := 0
		for ; i < len(rest); i++ {
			if c := rest[i]; quoted && c == '\'' || !quoted && strings.IndexByte(" \t\r\n", c) >= 0 {
				break
			}
			if rest[i] == '\\' && i+1 < len(rest) {
				i++
			}
			value.WriteByte(rest[i])
		}
		values[strings.TrimSpace(key)] = value.String()
		dsn = rest[min(i+1, len(rest)):]
	}
	s := source{namespace: values["dbname"]}
	if host := values["host"]; host != "" {
		s.setHost(host, values["port"])
	} else {
		s.setHost(values["hostaddr"], values["port"])
	}
	return s
}

// parseMySQL parses [user[:password]@][network[(address)]]/database[?options] like
// go-sql-driver/mysql, which splits it at the last "/" and at the last "@" before
// that.
func parseMySQL(dsn string) source {
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return source{}
	}
	var s source
	s.namespace, _, _ = strings.Cut(dsn[slash+1:], "?")
	_, address, ok := strings.Cut(dsn[strings.LastIndexByte(dsn[:slash], '@')+1:slash], "(")
	if ok && strings.HasSuffix(address, ")") {
		address = strings.TrimSuffix(address, ")")
		if host, port, err := net.SplitHostPort(address); err == nil {
			s.setHost(host, port)
		} else {
			s.setHost(address, "")
		}
	}
	return s
}

// parseSQLite returns the name of the file without its directory.
func parseSQLite(dsn string) source {
	name, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
	if name == "" || strings.Contains(name, "://") {
		return source{}
	}
	return source{namespace: path.Base(strings.ReplaceAll(name, `\`, "/"))}
}

// setHost keeps the first of several hosts.
func (s *source) setHost(host, port string) {
	host, _, _ = strings.Cut(host, ",")
	port, _, _ = strings.Cut(port, ",")
	s.address = host
	s.port, _ = strconv.Atoi(port)
}
