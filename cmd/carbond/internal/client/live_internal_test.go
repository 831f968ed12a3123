package client

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"carbond/store/change"
)

// TestLive shows the rows of a view as they are: changes come together, and what
// has gone is not shown.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b frames
		view := change.ViewFinance.Def()
		l := NewLive(&b, &Form{UTC: true, Getenv: func(string) string { return "" }}, view)
		quote := func(ticker string, price float64, diff int32) []any {
			r := make([]any, len(view.Fields))
			for i, f := range view.Fields {
				switch f.Name {
				case "ticker":
					r[i] = ticker
				case "price":
					r[i] = price
				case "timestamp":
					r[i] = int64(5)
				}
			}
			return append(r, diff, int64(0))
		}
		feed := func(rows ...[]any) {
			for _, r := range rows {
				if err := l.Row(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.End(); err != nil {
				t.Fatal(err)
			}
		}
		feed(quote("KRBN", 31.25, 1), quote("A\x1b[2J", 1, 1))
		synctest.Wait()
		first := b.last()
		if !strings.Contains(first, "finance: 2 rows") || !strings.Contains(first, "31.25") || strings.Contains(first, "\x1b") {
			t.Errorf("%q", first)
		}
		for range 50 {
			feed(quote("KRBN", 31.25, -1), quote("KRBN", 32.5, 1))
		}
		feed(quote("A\x1b[2J", 1, -1))
		time.Sleep(drawEvery)
		synctest.Wait()
		if got := b.last(); b.count() != 2 || !strings.Contains(got, "finance: 1 rows") || !strings.Contains(got, "32.50") || strings.Contains(got, "31.25") {
			t.Errorf("%d frames, the last %q", b.count(), got)
		}
		feed(quote("LATE", 1, 1))
		l.Stop()
	})
}

// frames keeps what was drawn.
type frames struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.b.Write(p)
}

func (f *frames) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Split(f.b.String(), "\x1b[H\x1b[2J")[1:]
}

func (f *frames) last() string {
	all := f.all()
	return all[len(all)-1]
}

func (f *frames) count() int { return len(f.all()) }
