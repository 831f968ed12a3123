package feeds_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/verra"
)

func TestOptionsAreChecked(t *testing.T) {
	tests := map[string]struct {
		opt  feeds.Options
		want string
	}{
		"scheme":      {feeds.Options{Verra: verra.Options{URL: "ftp://a.example"}}, "verra: want an http or https URL"},
		"no url":      {feeds.Options{News: news.Options{Feeds: []news.Source{{Name: "x"}}}}, "news x: want an http"},
		"same name":   {feeds.Options{News: news.Options{Feeds: []news.Source{{Name: "x", URL: "https://a.example"}, {Name: "X!", URL: "https://b.example"}}}}, "taken by another feed"},
		"google news": {feeds.Options{News: news.Options{Feeds: []news.Source{{Name: "g", URL: "https://news.google.com/rss"}}}}, "google_news"},
		"ticker":      {feeds.Options{Finance: finance.Options{Tickers: []string{"nee!"}}}, "finance ticker"},
		"too fast":    {feeds.Options{Interval: time.Millisecond}, "shorter than"},
		"status":      {feeds.Options{Verra: verra.Options{Status: verra.StatusMap{Own: []verra.StatusRule{{Pattern: "DRAFT", Status: "PLANNED"}}}}}, "verra status DRAFT"},
		"interval of": {feeds.Options{News: news.Options{Intervals: map[string]time.Duration{"Nobody": time.Hour}}}, "there is no such feed"},
		"no interval": {feeds.Options{News: news.Options{Intervals: map[string]time.Duration{"bbc": 0}}}, "shorter than"},
		"contact":     {feeds.Options{Contact: "a\r\nX: y"}, "one line"},
	}
	for name, tc := range tests {
		if _, err := feeds.New(tc.opt, newMemory()); !errors.Is(err, feeds.ErrOptions) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := feeds.New(feeds.Options{}, newMemory())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Status()); n != 3+20 {
		t.Errorf("%d feeds by default", n)
	}
	for _, s := range r.Status() {
		if strings.Contains(s.Name, " ") || s.State != "waiting" {
			t.Errorf("%+v", s)
		}
	}
	if _, err := r.Fetch(t.Context(), "nope", false); !errors.Is(err, feeds.ErrUnknownFeed) {
		t.Error(err)
	}
	if len(finance.DefaultTickers()) != 47 {
		t.Error("47 tickers by default")
	}
}

// A stand-in on the own machine is polled at any pace, so its silence is told sooner.
func TestStaleAfter(t *testing.T) {
	for interval, want := range map[time.Duration][2]time.Duration{ // local, public
		time.Second: {time.Minute, 30 * time.Minute}, time.Minute: {10 * time.Minute, 30 * time.Minute}, time.Hour: {10 * time.Hour, 10 * time.Hour},
	} {
		for i, url := range []string{"http://127.0.0.1:4711/v20", "https://v20.api.carbonmark.com"} {
			r := runner(t, feeds.Options{Interval: interval, Carbonmark: carbonmark.Options{URL: url}}, newMemory())
			if s := status(r, "carbonmark"); s.StaleAfter != want[i] {
				t.Errorf("%s each %v: stale after %v, want %v", url, interval, s.StaleAfter, want[i])
			}
		}
	}
}

// However long a stand-in on the own machine has failed, it is asked again within
// seconds of being well.
func TestLocalFailuresWaitForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{handle: func(*http.Request) *http.Response { return answer(500, "text/plain", "") }}
		r := runner(t, only(feeds.Options{
			Interval: time.Second, Transport: u, Carbonmark: carbonmark.Options{URL: "http://127.0.0.1:4711/v20/"},
		}, "carbonmark"), newMemory())
		for range 20 {
			if _, err := fetchNow(t, r, "carbonmark"); err == nil {
				t.Fatal("it should fail")
			}
			s := status(r, "carbonmark")
			if wait := time.Until(s.NextDue); wait > 7*time.Second {
				t.Fatalf("%d failures wait for %v", s.Failures, wait)
			}
			<-time.After(time.Until(s.NextDue))
		}
	})
}

// Ten intervals without a success make a feed stale: the figure shows which
// interval is in force.
func TestNewsIntervals(t *testing.T) {
	r, err := feeds.New(feeds.Options{News: news.Options{
		Intervals: map[string]time.Duration{"bbc": 30 * time.Minute, "Financial Times": time.Hour, "Bloomberg": 20 * time.Minute},
	}}, newMemory())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Duration{
		"news/bbc": 300 * time.Minute, "news/ft": 10 * time.Hour, "news/bbc-business": 150 * time.Minute,
		"news/bloomberg": 200 * time.Minute, "news/bloomberg-markets": 200 * time.Minute,
	} {
		if s := status(r, name); s.StaleAfter != want {
			t.Errorf("%s: %v, want %v", name, s.StaleAfter, want)
		}
	}
}
