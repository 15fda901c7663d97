// Package integration tests dendro against the real thing: the OpenTelemetry
// SDK, databases and a browser. It is a module of its own, so that what it
// needs is no requirement of dendro.
//
// What is missing on a machine (PostgreSQL, MariaDB, Chromium) is a skip, and a
// failure with DENDRO_REQUIRE_ALL=1.
package integration
