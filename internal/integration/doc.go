// Package integration tests dendro together with other software: the OpenTelemetry
// SDK, libraries that are instrumented with its API, databases and a browser. It is a
// module of its own, so that dendro does not require these.
//
// Tests are skipped if the software they need (PostgreSQL, MariaDB, Redis, Chromium, Node.js and
// what npm ci installs in otel-js) is missing. With DENDRO_REQUIRE_ALL=1 they fail instead.
package integration
