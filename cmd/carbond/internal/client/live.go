package client

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"sync"
	"time"

	"carbond/store/change"
)

// Live is a Printer of deltas that shows the rows of a view as they are now, on a
// terminal, and draws them again when they change. Rows have the columns of the
// view, then diff and time.
type Live struct {
	w    io.Writer
	form Form
	view *change.ViewDef
	key  int

	mu      sync.Mutex // guards what follows
	rows    map[any][]any
	changes int
	timer   *time.Timer // draws later what came too soon after the last time, nil when none is due
	drawn   time.Time
	err     error // of the last drawing
}

// drawEvery is the least time between two drawings.
const drawEvery = 200 * time.Millisecond

// NewLive returns a Live on a terminal.
func NewLive(w io.Writer, o *Form, view *change.ViewDef) *Live {
	l := &Live{w: w, form: *o, view: view, key: slices.Index(view.Names(), view.Key), rows: map[any][]any{}}
	l.form.Format = "table"
	return l
}

// Row implements Printer.
func (l *Live) Row(r []any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	if diff := r[len(l.view.Fields)]; diff == int32(-1) {
		delete(l.rows, r[l.key])
	} else {
		l.rows[r[l.key]] = r[:len(l.view.Fields)]
	}
	return l.err
}

// End implements Printer: it draws now, or soon.
func (l *Live) End() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		wait := max(0, drawEvery-time.Since(l.drawn))
		l.timer = time.AfterFunc(wait, l.draw)
	}
	return l.err
}

// Reset forgets the rows: all come again.
func (l *Live) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.rows)
}

// Stop ends the drawing.
func (l *Live) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}

func (l *Live) draw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer, l.drawn = nil, time.Now()
	var b bytes.Buffer
	b.WriteString("\x1b[H\x1b[2J")
	fmt.Fprintf(&b, "%s: %d rows, %d changes, %s; Ctrl-C ends\n\n", l.view.Name, len(l.rows), l.changes, l.drawn.Format(time.TimeOnly))
	form := l.form
	form.Width = cmp.Or(form.Width, Width(l.w, form.Getenv))
	p := newTable(&b, &form, ViewColumns(l.view))
	rows := l.sorted()
	for _, r := range rows[:min(len(rows), max(1, Height(l.w)-4))] {
		_ = p.Row(r) // a table keeps rows in memory
	}
	_ = p.End() // and so does a buffer
	_, l.err = Bare(l.w).Write(b.Bytes())
}

// sorted returns the newest news first, all else by key.
func (l *Live) sorted() [][]any {
	rows := make([][]any, 0, len(l.rows))
	for _, r := range l.rows {
		rows = append(rows, r)
	}
	published := slices.Index(l.view.Names(), "published")
	slices.SortFunc(rows, func(a, b []any) int {
		if published >= 0 {
			if n := mailTime(b[published]).Compare(mailTime(a[published])); n != 0 {
				return n
			}
		}
		return cmp.Compare(a[l.key].(string), b[l.key].(string))
	})
	return rows
}

// mailTime reads a time of RFC 822, zero when it is none.
func mailTime(v any) time.Time {
	s, _ := v.(string)
	t, err := mail.ParseDate(s)
	if err != nil {
		return time.Time{}
	}
	return t
}
