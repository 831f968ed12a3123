package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWebhooks: a receiver that is configured hears of changes, gets a delivery that
// it refused again, and its place is that of a consumer group.
func TestWebhooks(t *testing.T) {
	ids := make(chan string, 1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case ids <- r.Header.Get("webhook-id"):
		default: // enough were seen
		}
		if len(ids) == 1 {
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
	p.until("its place", func() bool {
		return strings.Contains(must(t, nil, "groups", "--addr", p.grpc), "webhook:desk")
	})
	if _, body := p.get("/metrics"); !strings.Contains(body, `carbond_webhook_`) {
		t.Error("no metric of webhooks")
	}
	if out := p.stderr.String(); strings.Contains(out, "a-long-random-text") {
		t.Errorf("the secret is in the log:\n%s", out)
	}
}
