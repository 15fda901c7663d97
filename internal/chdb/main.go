//go:build linux

// Command chdb serves ClickHouse's HTTP interface for tests. ClickHouse is a library, libchdb.so,
// which npm ci installs in this folder. See README.md for what differs from a server.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("chdb: ")
	addr := flag.String("addr", "127.0.0.1:0", "listen on `host:port`")
	path := flag.String("path", "", "keep the data in `DIR` (default a temporary directory, which is removed at the end)")
	file := flag.String("lib", "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so", "load the library `FILE`")
	stdin := flag.Bool("stdin", false, "stop at the end of standard input, too")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	if *stdin {
		go func() {
			if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
				log.Print(err)
			}
			stop()
		}()
	}
	if err := run(ctx, *addr, *path, *file); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done. It prints the address that it listens on.
func run(ctx context.Context, addr, path, file string) error {
	if path == "" {
		var err error
		if path, err = os.MkdirTemp("", "chdb-"); err != nil {
			return err
		}
		defer func() {
			if err := os.RemoveAll(path); err != nil {
				log.Print(err)
			}
		}()
	}
	lib, err := openLibrary(file)
	if err != nil {
		return err
	}
	engine, err := startEngine(lib, path)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: &handler{engine: engine}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println(listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	if err := engine.boot.exec("KILL QUERY WHERE query_id != queryID()"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	engine.boot.close()
	return nil
}
