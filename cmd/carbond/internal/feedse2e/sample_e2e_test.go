package feedse2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/feeds/sample"
	"carbond/proto/carbon"
)

// frozen is the invented world at a moment that does not pass.
func frozen(t testing.TB) (w *sample.World, u [4]*upstream, config string) {
	now := time.Now().Truncate(time.Second)
	w = sample.New(sample.Options{Seed: 3, Now: func() time.Time { return now }})
	for i := range u {
		u[i] = newUpstream(t, w.Handler())
	}
	verra, market, quotes, press := w.URLs(u[0].URL), w.URLs(u[1].URL), w.URLs(u[2].URL), w.URLs(u[3].URL)
	var b strings.Builder
	fmt.Fprintf(&b, "feeds:\n  interval: 1s\n  verra_url: %s\n  carbonmark_url: %s\n  finance_url: %s\n  finance_cookie_url: %s\n  news_urls:\n",
		verra.Verra, market.Carbonmark, quotes.Finance, quotes.Cookie)
	for _, f := range press.News {
		fmt.Fprintf(&b, "    %s: %q\n", f.Name, f.URL)
	}
	return w, u, b.String()
}

// Without a Postgres the same upstreams lead to the same rows, an unchanged
// world leaves no record, and a restart starts from what was known. Then one
// feed dies: it delays no other, and is told without taking the API down.
func TestEmbeddedAndADeadFeed(t *testing.T) {
	t.Parallel()
	w, _, config := frozen(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"),
		"CARBOND_CONFIG=" + configFile(t, config+"  stale_after: 4s\n"),
	}
	d := start(t, env, "serve")
	full := func(d *daemon) bool {
		v := d.read()
		supplied := 0
		for _, p := range v.projects {
			if p.Supply > 0 {
				supplied++
			}
		}
		return len(v.projects) == 300 && len(v.finance) == 47 && v.finance["TSLA"].GetMarketCap() > 0 && len(v.news) > 30 && supplied > 120
	}
	live := []string{"carbonmark", "finance", "news/the-lantern", "news/verdant-wire", "news/radio-alder"}
	programtest.Until(t, patience, "all rows are at the API", func() bool { return full(d) })
	d.morePolls(2, append(live, "verra")...)
	served, offset := d.read(), d.offset()
	d.morePolls(3, append(live, "verra")...)
	if now := d.read().text(); now != served.text() || d.offset() != offset {
		t.Errorf("an unchanged world led to records %d to %d", offset, d.offset())
	}
	statuses := map[string]int{}
	for id, p := range served.projects {
		statuses[p.RegistryStatus]++
		if !strings.Contains(p.ProjectName, sample.Mark) {
			t.Errorf("%s is called %q", id, p.ProjectName)
		}
	}
	for _, s := range []string{"ACTIVE", "RETIRED", "UNDER_VALIDATION", "ON_HOLD", "INACTIVE", "REJECTED", ""} {
		if statuses[s] == 0 {
			t.Errorf("no project is %s: %v", s, statuses)
		}
	}
	d.Stop(t)
	d = start(t, env, "serve")
	d.morePolls(2, append(live, "verra")...)
	if now := d.read().text(); now != served.text() || d.offset() != offset {
		t.Errorf("a restart led to records %d to %d", offset, d.offset())
	}

	w.Misbehave(sample.VerraPath, sample.Fault{Kind: sample.FaultStall})
	programtest.Until(t, patience, "a reason why verra is stale", func() bool {
		code, body := d.get("/readyz?verbose")
		if code != 200 {
			t.Fatalf("a stale feed took the API down: %d %s", code, body)
		}
		return strings.Contains(body, "verra is stale since ")
	})
	// Its poll hangs for 20 s; the others go on all the while.
	was := d.polls("verra", "timeout")
	d.morePolls(4, live...)
	if d.polls("verra", "timeout") != was {
		t.Log("the machine is slow: verra's poll ended meanwhile")
	}
	if list := d.feedsCommand(); !strings.Contains(list, "verra") || !strings.Contains(list, ", stale") || strings.Count(list, ", stale") != 1 {
		t.Errorf("carbond feeds:\n%s", list)
	}
	program.Must(t, nil, "healthcheck", "--addr", d.GRPC)
	if now := d.read().text(); now != served.text() {
		t.Error("a dead feed changed the rows")
	}
	w.Misbehave(sample.VerraPath, sample.Fault{})
	programtest.Until(t, patience, "verra is well again", func() bool {
		_, body := d.get("/readyz?verbose")
		return !strings.Contains(body, "verra is stale")
	})
	d.Stop(t)
}

// The demo moves by itself, within seconds, and says of everything what it is.
func TestDemoMoves(t *testing.T) {
	t.Parallel()
	d := start(t, []string{"CARBOND_DATA_DIR=/nonexistent/carbond"}, "demo", "--speed", "60")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	programtest.Until(t, patience, "a first price, story and supply", func() bool {
		v := d.read()
		return len(v.finance) == 47 && len(v.news) > 0 && len(v.projects) == 300
	})
	programtest.Until(t, patience, "the welcome text", func() bool { return strings.Contains(d.Out.String(), "SAMPLE DATA") })
	first, began := d.read(), time.Now()
	moved := map[string]time.Duration{}
	programtest.Until(t, patience, fmt.Sprintf("price, story and supply move; so far %v", moved), func() bool {
		v := d.read()
		for ticker, f := range v.finance {
			if f.Price != first.finance[ticker].GetPrice() && moved["price"] == 0 {
				moved["price"] = time.Since(began)
			}
		}
		for guid, n := range v.news {
			if !strings.Contains(n.Title, sample.Mark) {
				t.Fatalf("a headline without the mark: %v", n)
			}
			if first.news[guid] == nil && moved["story"] == 0 {
				moved["story"] = time.Since(began)
			}
		}
		for id, p := range v.projects {
			if !strings.Contains(p.ProjectName, sample.Mark) {
				t.Fatalf("a project without the mark: %v", p)
			}
			if p.Supply != first.projects[id].GetSupply() && moved["supply"] == 0 {
				moved["supply"] = time.Since(began)
			}
		}
		return len(moved) == 3
	})
	t.Logf("moved after %v", moved)
	one, err := d.api.GetFinanceData(ctx, &carbon.FinanceQuery{Ticker: "KRBN"})
	if err != nil || len(one.Items) != 1 {
		t.Errorf("KRBN: %v %v", one, err)
	}
	for _, path := range []string{"/", "/status.json"} {
		if _, body := d.get(path); !strings.Contains(strings.ToUpper(body), "SAMPLE") {
			t.Errorf("%s does not say that it is a sample", path)
		}
	}
	if list := d.feedsCommand(); !strings.HasPrefix(list, sample.Mark) {
		t.Errorf("carbond feeds:\n%s", list)
	}
	d.Stop(t)
}
