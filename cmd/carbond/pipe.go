package main

import (
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// watchPipe calls gone when the reader of a pipe went away, so that
// `consume --follow | head -1` ends before the next change. The function that it
// returns ends the watch.
func watchPipe(ctx context.Context, w io.Writer, gone func()) (stop func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(250 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if brokenPipe(f) {
				gone()
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// outTerminal reports whether output goes to a terminal.
func outTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && terminal(f)
}
