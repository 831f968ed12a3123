package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestWebhooks: a receiver that is configured hears of changes, gets a delivery that
// it refused again, and its place is that of a consumer group. An operator sees that a
// receiver is gone, tries it, and lets the hook go on.
func TestWebhooks(t *testing.T) {
	ids := make(chan string, 1000)
	var refused, gone atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case ids <- r.Header.Get("webhook-id"):
		default: // enough were seen
		}
		switch {
		case gone.Load():
			w.WriteHeader(http.StatusGone)
		case !refused.Swap(true):
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer receiver.Close()
	p := start(t, []string{
		"CARBOND_WEBHOOKS_URLS=desk=" + receiver.URL, "CARBOND_WEBHOOKS_VIEWS=desk=finance",
		"CARBOND_WEBHOOKS_SECRET_FILE=" + file(t, "secret", "a-long-random-text"),
	}, "demo")
	var first, again string
	p.until("two deliveries", func() bool {
		if len(ids) < 2 {
			return false
		}
		first, again = <-ids, <-ids
		return true
	})
	if first == "" || first != again {
		t.Errorf("delivery %q was refused, and %q came next", first, again)
	}
	state := func(want string) func() bool {
		return func() bool {
			return strings.Contains(must(t, nil, "webhooks", "--addr", p.grpc, "--format", "csv"), "\ndesk,"+want+",finance,,,")
		}
	}
	p.until("its place", func() bool { return strings.Contains(must(t, nil, "groups", "--addr", p.grpc), "webhook:desk") })
	p.until("all well", state("ok"))
	p.until("it on the page", func() bool {
		_, body := p.get("/pipeline")
		return strings.Contains(body, "Receivers of changes") && strings.Contains(body, "<bdi>finance</bdi>")
	})
	if out := must(t, nil, "webhooks", "test", "desk", "--addr", p.grpc); !strings.Contains(out, "desk took the test") {
		t.Error(out)
	}
	gone.Store(true)
	p.until("a hook that is stopped", state("stopped"))
	if code, _, errs := command(t, nil, "webhooks", "test", "desk", "--addr", p.grpc); code != 1 || !strings.Contains(errs, "410 Gone") || strings.Contains(errs, "is it running") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	gone.Store(false)
	for len(ids) > 0 {
		<-ids
	}
	if out := must(t, nil, "webhooks", "replay", "desk", "--from", "earliest", "--addr", p.grpc); !strings.Contains(out, "goes on behind offset") {
		t.Error(out)
	}
	p.until("the first delivery once more", func() bool { return len(ids) > 0 })
	p.until("all well again", state("ok"))
	for _, args := range [][]string{{"test", "nobody"}, {"replay", "nobody", "--from", "latest"}} {
		if code, _, errs := command(t, nil, append([]string{"webhooks", "--addr", p.grpc}, args...)...); code == 0 || !strings.Contains(errs, "webhooks.urls") {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
	}
	if _, body := p.get("/metrics"); !strings.Contains(body, `carbond_webhook_deliveries_total{hook="desk",result="ok"}`) {
		t.Error("no metric of webhooks")
	}
	if out := p.stderr.String(); strings.Contains(out, "a-long-random-text") {
		t.Errorf("the secret is in the log:\n%s", out)
	}
}

// TestWebhookMistakes: what check-config says of hooks.
func TestWebhookMistakes(t *testing.T) {
	base := map[string]string{"URLS": "desk=https://hooks.example.org/", "SECRET": "a-long-random-text"}
	for want, env := range map[string]map[string]string{
		"":                         {"TOPICS": "desk=carbon.public.verra"},
		"or desk=TOPIC in":         {},
		"has a view or a rule too": {"TOPICS": "desk=carbon.public.verra", "RULES": "desk=any"},
		"is not the name of a topic, like carbon.public.verra": {"TOPICS": "desk=verra"},
		`"other" has no address in webhooks.urls`:              {"TOPICS": "desk=carbon.public.verra,other=carbon.public.news"},
	} {
		var all []string
		for _, m := range []map[string]string{base, env} {
			for k, v := range m {
				all = append(all, "CARBOND_WEBHOOKS_"+k+"="+v)
			}
		}
		code, _, errs := command(t, all, "check-config")
		if (code == 0) != (want == "") || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d, %s; want %q", env, code, errs, want)
		}
	}
}
