// Package drivernames has the names under which wrapped drivers are registered, for packages
// that keep tables by the name of a driver.
package drivernames

import "sync"

var registered struct {
	sync.Mutex
	all  [][2]string                     // name, driverName
	each []func(name, driverName string) // see Each
}

// Add adds name, under which the driver driverName is registered with a wrapper.
func Add(name, driverName string) {
	registered.Lock()
	defer registered.Unlock()
	registered.all = append(registered.all, [2]string{name, driverName})
	for _, f := range registered.each {
		f(name, driverName)
	}
}

// Each calls f for each name that was added, and whenever one is added. f must not call
// this package.
func Each(f func(name, driverName string)) {
	registered.Lock()
	defer registered.Unlock()
	registered.each = append(registered.each, f)
	for _, n := range registered.all {
		f(n[0], n[1])
	}
}
