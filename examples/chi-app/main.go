// Command chi-app is a small shop that traces itself with dendro. It consists of a chi
// router, services that call each other over HTTP, a database, and the page that shows
// what every request did.
//
// A few lines make the traces. The handlers do not know about tracing. To find these
// lines:
//
//	grep '// dendro: ' *.go
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
