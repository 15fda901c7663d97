package testkit

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// fake is a test that records its failures.
type fake struct {
	testing.TB
	name     string
	ctx      context.Context
	failures []string
	cleanups []func()
}

// Failures runs test, with its cleanup functions, as a test named TestShop that is not the
// current one, and returns its failures.
func Failures(t *testing.T, test func(t testing.TB)) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &fake{TB: t, name: "TestShop", ctx: ctx}
	done := make(chan struct{})
	go func() { // for Fatal
		defer close(done)
		defer func() {
			cancel()
			for _, f := range slices.Backward(f.cleanups) {
				f()
			}
		}()
		test(f)
	}()
	<-done
	return f.failures
}

func (f *fake) Helper()                  {}
func (f *fake) Name() string             { return f.name }
func (f *fake) Context() context.Context { return f.ctx }
func (f *fake) Cleanup(c func())         { f.cleanups = append(f.cleanups, c) }
func (f *fake) Failed() bool             { return len(f.failures) > 0 }
func (f *fake) Skipped() bool            { return false }
func (f *fake) Errorf(format string, args ...any) {
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fake) Fatal(args ...any) {
	f.failures = append(f.failures, fmt.Sprint(args...))
	runtime.Goexit()
}
