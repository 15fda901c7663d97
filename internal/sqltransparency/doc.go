// Package sqltransparency compares drivers of database/sql with the same drivers
// wrapped by a tracing library: the optional interfaces of every value, and what a
// scripted driver and its caller see of the same random calls.
package sqltransparency
