package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/dendrotrace/dendro/collector/auth"
)

// access is who may connect, send and read. All of it is in files.
type access struct {
	writers      *auth.Tokens   // nil: whoever can connect may send
	readers      *auth.Tokens   // nil: see authorize
	sessions     *auth.Sessions // of readers
	certificates *certificates  // nil: no TLS
	clients      bool           // clients need a certificate

	files []accessFile
}

// accessFile is what can be read again.
type accessFile struct {
	flag   string
	reload func() error
}

// openAccess reads the files. It warns of those that others can read.
func openAccess(o serveOptions, log *slog.Logger) (*access, error) {
	a := &access{clients: o.tls.clientCA != ""}
	var err error
	for _, f := range []struct {
		flag, file string
		to         **auth.Tokens
	}{{"token-file", o.tokenFile, &a.writers}, {"web-token-file", o.webTokenFile, &a.readers}} {
		if f.file == "" {
			continue
		}
		if *f.to, err = auth.Open(f.file); err != nil {
			return nil, err
		}
		a.files = append(a.files, accessFile{f.flag, (*f.to).Reload})
		warnIfExposed(log, f.file)
	}
	if a.readers != nil {
		a.sessions = auth.NewSessions(a.readers)
	}
	if o.tls.cert != "" {
		if a.certificates, err = openCertificates(o.tls); err != nil {
			return nil, err
		}
		a.files = append(a.files, accessFile{"tls-cert", a.certificates.Reload})
		warnIfExposed(log, o.tls.key)
	}
	return a, nil
}

// warnIfExposed warns if users that are neither the owner nor in the group can read a file.
func warnIfExposed(log *slog.Logger, file string) {
	if info, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		log.Warn("every user of this machine can read a secret: chmod o-r", "file", file)
	}
}

// reloadOnHangUp reads the files again for each SIGHUP, until ctx is done. Also without files, SIGHUP
// does not end the program: a service manager sends it to reload.
func (a *access) reloadOnHangUp(ctx context.Context, log *slog.Logger) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP) // which Windows never sends
	go func() {
		defer signal.Stop(hangUp)
		for {
			select {
			case <-hangUp:
				a.reload(log)
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (a *access) reload(log *slog.Logger) {
	if len(a.files) == 0 {
		log.Info("there are no files with tokens, certificates or rules to read again")
	}
	for _, f := range a.files {
		if err := f.reload(); err != nil {
			log.Error("a file cannot be used; what was read before stays in use", "flag", "-"+f.flag, "err", err)
			continue
		}
		log.Info("read again", "flag", "-"+f.flag)
	}
}

// protect returns a handler that lets writers through.
func (a *access) protect(next http.Handler) http.Handler {
	if a.writers == nil {
		return next
	}
	return a.writers.Protect(next)
}

// authorize reports whether a request may read.
func (a *access) authorize(r *http.Request) bool {
	switch {
	case a.sessions != nil:
		return a.sessions.Authorize(r)
	case a.clients:
		return true // every connection has a certificate
	}
	return auth.FromThisMachine(r)
}
