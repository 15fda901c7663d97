package main

import (
	"fmt"
	"io"
	"time"
)

// progressInterval is the time between two lines about the progress of a command. Whatever takes
// less prints none. Tests change it.
var progressInterval = 2 * time.Second

// progress prints a line again and again until stop is called.
func progress(out io.Writer, line func() string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	ticker := time.NewTicker(progressInterval)
	go func() {
		defer close(ended)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintln(out, line())
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// perSecond returns how many of n there are in a second.
func perSecond(n int64, since time.Time) int64 {
	return int64(float64(n) / max(time.Since(since).Seconds(), 1e-3))
}

// size returns a number of bytes for people: 1.5 GiB.
func size(n int64) string {
	for _, u := range byteUnits[:3] {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
