package main

import (
	"fmt"
	"time"
)

// progress shows on a terminal how far a long command is, in one line of
// standard error. It shows nothing when that is no terminal, or when standard
// output is the same one and its lines show enough.
type progress struct {
	a     *app
	on    bool
	began time.Time
	last  time.Time
	shown bool
}

func newProgress(a *app) *progress {
	return &progress{a: a, on: a.errFile != nil && terminal(a.errFile) && !outTerminal(a.out), began: time.Now()}
}

// update shows so many changes and bytes, a few times a second at most.
func (p *progress) update(changes uint64, bytes int64) {
	if changes == 0 {
		p.say(fmt.Sprintf("%s  %s/s", human(bytes), p.rate(bytes)))
		return
	}
	p.say(fmt.Sprintf("%d changes  %s  %s/s", changes, human(bytes), p.rate(bytes)))
}

func (p *progress) rate(bytes int64) string {
	return human(int64(float64(bytes) / max(time.Since(p.began).Seconds(), 0.001)))
}

func (p *progress) say(text string) {
	if now := time.Now(); p.on && now.Sub(p.last) >= 200*time.Millisecond && now.Sub(p.began) >= time.Second {
		p.last, p.shown = now, true
		fmt.Fprintf(p.a.err, "\r\x1b[K%s", text)
	}
}

// note prints a line of its own, terminal or not.
func (p *progress) note(text string) {
	p.end()
	fmt.Fprintf(p.a.err, "carbond: %s\n", p.a.redact(plain(text)))
}

// end clears the line.
func (p *progress) end() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.a.err, "\r\x1b[K")
	}
}

// human prints a number of bytes with a binary unit.
func human(n int64) string {
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
