package feeds_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/verra"
)

// A feed whose poll takes long (a sweep takes minutes, a stalled upstream too)
// must not keep the state of the others from being saved, nor lose its own.
func TestStateIsSavedDuringALongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, path := newMemory(), filepath.Join(t.TempDir(), "feeds.json")
		stalled := true
		u := &upstream{}
		u.handle = func(r *http.Request) *http.Response {
			if r.URL.Host == "sweep.example" && stalled {
				<-r.Context().Done()
				return nil
			}
			return answer(200, "text/xml", fmt.Sprintf(rss, story(len(r.URL.Host), "Carbon tax")), "ETag", `"of `+r.URL.Host+`"`)
		}
		start := func(also string) (end func()) {
			r := runner(t, feeds.Options{
				Transport: u, Timeout: 25 * time.Minute, StatePath: path, Verra: verra.Options{Disabled: true},
				Carbonmark: carbonmark.Options{Disabled: true}, Finance: finance.Options{Disabled: true},
				News: news.Options{Feeds: []news.Source{{Name: "sweep", URL: "https://sweep.example/"}, {Name: also, URL: "https://" + also + ".example/"}}},
			}, m)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			return func() { cancel(); <-done }
		}
		saved := func(want string, has bool) {
			t.Helper()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if contains(string(b), `\"of `+want+`.example\"`) != has {
				t.Errorf("validator of %s saved: %v, want %v\n%s", want, !has, has, b)
			}
		}

		end := start("first")
		time.Sleep(10 * time.Minute)
		if first := u.requests()[0].host; first != "sweep.example" {
			t.Fatalf("%s was asked first, so that nothing is proved: choose other names", first)
		}
		saved("first", true)
		saved("sweep", false)
		end()

		stalled = false
		end = start("stalled")
		time.Sleep(40 * time.Minute) // the failure before made it wait
		end()
		saved("sweep", true)

		stalled = true
		time.Sleep(time.Hour) // all are due at the next start, the slow one first
		end = start("third")
		time.Sleep(10 * time.Minute)
		saved("third", true)
		saved("sweep", true)
		end()
		saved("sweep", true)
	})
}
