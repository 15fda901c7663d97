//go:build cgo

package main

// databaseMemory is what the database has outside of the heap that Go's limit is about: in memory of C.
const databaseMemory = 64 << 20
