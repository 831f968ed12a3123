package main

import (
	"context"
	"net"
	"strings"
	"testing"

	"carbond/feeds/sample"
)

func TestFeedsFetchShowsAndWritesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := sample.New(sample.Options{Seed: 7})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	urls := w.URLs("http://" + l.Addr().String())
	env := append(embedded(t), "CARBOND_FEEDS_CARBONMARK_URL="+urls.Carbonmark, "CARBOND_FEEDS_ENABLED=carbonmark")

	out := must(t, env, "feeds", "fetch", "carbonmark", "--rows", "2")
	if !strings.Contains(out, "would insert 264, update 0, delete 0") || !strings.Contains(out, "... and 202 more") {
		t.Error(out)
	}
	// The same again: a dry run leaves no memory behind.
	if again := must(t, env, "feeds", "fetch", "carbonmark"); !strings.Contains(again, "would insert 264") {
		t.Error(again)
	}
	if code, _, errs := command(t, env, "feeds", "fetch", "verra"); code != 64 || !strings.Contains(errs, "carbonmark") {
		t.Errorf("a feed that is off: %d %s", code, errs)
	}
	// A daemon with the feed on fills itself, and then a poll finds little new.
	p := start(t, append(env, "CARBOND_FEEDS_ENABLED=carbonmark"), "serve")
	p.until("rows", func() bool {
		_, body := p.get("/metrics")
		return strings.Contains(body, `carbond_table_rows{table="carbonmark"} 204`)
	})
	if out := must(t, nil, "feeds", "--http-addr", p.http); !strings.Contains(out, "carbonmark  ok") {
		t.Error(out)
	}
	code, out, errs := command(t, env, "feeds", "fetch", "carbonmark")
	if code != 0 || !strings.Contains(errs, "a daemon holds") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	p.stop()
	if out := must(t, env, "feeds", "fetch", "carbonmark"); strings.Contains(out, "would insert 264") {
		t.Errorf("compared with nothing:\n%s", out)
	}
}
