package client_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"carbond/cmd/carbond/internal/client"
)

// pty returns the two ends of a terminal: what a program writes to tty is read from screen.
func pty(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// A bar shows on a terminal, a few times a second at most, goes when all is done, and is
// nowhere else.
func TestProgressPart(t *testing.T) {
	same := func(s string) string { return s }
	screen, tty := pty(t)
	shown := make(chan string, 1)
	var seen atomic.Bool
	go func() {
		var all bytes.Buffer
		b := make([]byte, 4096)
		for {
			n, err := screen.Read(b)
			all.Write(b[:n])
			seen.Store(strings.Contains(all.String(), "read x.csv ["))
			if err != nil || strings.Contains(all.String(), "end") {
				shown <- all.String()
				return
			}
		}
	}()
	began := time.Now()
	p := client.NewProgress(tty, nil, same)
	for done := int64(0); !seen.Load(); done = (done + 1) % 1000 {
		p.Part("read x.csv", done, 1000)
	}
	p.End()
	took := time.Since(began)
	fmt.Fprint(tty, "end")
	text := <-shown
	bars := strings.Count(text, "read x.csv [")
	if most := int(took/(200*time.Millisecond)) + 1; bars < 1 || bars > most || !strings.Contains(text, "%") {
		t.Errorf("%d bars in %v: %q", bars, took, text)
	}
	if !strings.HasSuffix(text, "\r\x1b[Kend") {
		t.Errorf("the line is left: %q", text)
	}

	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		q := client.NewProgress(&file, nil, same)
		for range 30 {
			time.Sleep(100 * time.Millisecond)
			q.Part("read x.csv", 1, 2)
		}
		if q.End(); file.Len() > 0 {
			t.Errorf("redirected, it writes %q", file.String())
		}
	})
}
