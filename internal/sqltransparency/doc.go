// Package sqltransparency compares drivers of database/sql with what a tracing
// library makes of them: the optional interfaces of every value, and what a
// scripted driver and its caller see of the same random calls.
package sqltransparency
