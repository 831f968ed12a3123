package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Progress shows on a terminal how far a long command is, in one line of
// standard error. It shows nothing when that is no terminal, or when standard
// output is the same one and its lines show enough.
type Progress struct {
	w      io.Writer
	redact func(string) string
	on     bool
	began  time.Time
	last   time.Time
	shown  bool
}

// NewProgress shows progress on w, beside a command that prints to out; out is nil for
// one that prints only between what it shows. Texts pass redact.
func NewProgress(w, out io.Writer, redact func(string) string) *Progress {
	return &Progress{w: Bare(w), redact: redact, on: Terminal(w) && !Terminal(out), began: time.Now()}
}

// Update shows so many changes and bytes, a few times a second at most.
func (p *Progress) Update(changes uint64, bytes int64) {
	if changes == 0 {
		p.say(fmt.Sprintf("%s  %s/s", Bytes(bytes), p.rate(bytes)))
		return
	}
	p.say(fmt.Sprintf("%d changes  %s  %s/s", changes, Bytes(bytes), p.rate(bytes)))
}

// Part shows how much of something known is done, a few times a second at most.
func (p *Progress) Part(what string, done, all int64) {
	const width = 30
	n := int(width * min(done, all) / max(all, 1))
	p.say(fmt.Sprintf("%s [%s%s] %3d%%", what, strings.Repeat("#", n), strings.Repeat(".", width-n), 100*min(done, all)/max(all, 1)))
}

func (p *Progress) rate(bytes int64) string {
	return Bytes(int64(float64(bytes) / max(time.Since(p.began).Seconds(), 0.001)))
}

func (p *Progress) say(text string) {
	if now := time.Now(); p.on && now.Sub(p.last) >= 200*time.Millisecond && now.Sub(p.began) >= time.Second {
		p.last, p.shown = now, true
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	}
}

// Note prints a line of its own, terminal or not.
func (p *Progress) Note(text string) {
	p.End()
	fmt.Fprintf(p.w, "carbond: %s\n", Plain(p.redact(text)))
}

// End clears the line.
func (p *Progress) End() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// Bytes prints a number of bytes with a binary unit.
func Bytes(n int64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// WatchPipe calls gone when the reader of a pipe went away, so that
// `consume --follow | head -1` ends before the next change. The function that it
// returns ends the watch.
func WatchPipe(ctx context.Context, w io.Writer, gone func()) (stop func()) {
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

// Terminal reports whether somebody sits at the end of a reader or writer.
func Terminal(stream any) bool {
	if g, ok := stream.(*guard); ok {
		stream = g.w
	}
	f, ok := stream.(*os.File)
	return ok && terminal(f)
}

// Width returns the columns of the terminal at the end of w, 80 when it does not
// say; 0 for no limit. $COLUMNS wins.
func Width(w io.Writer, getenv func(string) string) int {
	if n, err := strconv.Atoi(getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if !Terminal(w) {
		return 0
	}
	if n, _ := size(Bare(w).(*os.File)); n > 0 {
		return n
	}
	return 80
}

// Height returns the lines of the terminal at the end of w, 24 when it does not say.
func Height(w io.Writer) int {
	if f, ok := Bare(w).(*os.File); ok {
		if _, n := size(f); n > 0 {
			return n
		}
	}
	return 24
}

// Colour reports whether a text on w may have colours.
func Colour(w io.Writer, getenv func(string) string) bool {
	return Terminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}
