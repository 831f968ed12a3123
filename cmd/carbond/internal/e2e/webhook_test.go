package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

// inbox is a receiver of webhooks.
type inbox struct {
	mu       sync.Mutex // guards what follows
	offsets  []uint64   // of deliveries that were taken, in the order of arrival
	ids      map[uint64]string
	supplies map[string]bool
	twice    []string // ids of one transaction that differ
}

// ServeHTTP takes a delivery, after it was held for a moment or refused.
func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var d struct {
		Data struct {
			Offset  uint64
			Changes []struct{ After struct{ Supply float64 } }
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if rand.IntN(100) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	b.mu.Lock()
	b.offsets = append(b.offsets, d.Data.Offset)
	if id, had := r.Header.Get("webhook-id"), b.ids[d.Data.Offset]; had != "" && had != id {
		b.twice = append(b.twice, id+" and "+had)
	} else {
		b.ids[d.Data.Offset] = id
	}
	for _, c := range d.Data.Changes {
		b.supplies[fmt.Sprint(c.After.Supply)] = true
	}
	b.mu.Unlock()
	select { // the daemon may be killed before it hears that this was taken
	case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
	case <-r.Context().Done():
	}
}

func (b *inbox) taken() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.supplies)
}

// TestWebhookKills kills the daemon at random moments of its deliveries: every change
// arrives, in the order of commits, and one that arrives again has the same id.
func TestWebhookKills(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	box := &inbox{ids: map[uint64]string{}, supplies: map[string]bool{}}
	receiver := httptest.NewServer(box)
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a-long-random-text"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(dir, "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_webhook",
		"CARBOND_WEBHOOKS_URLS=desk=" + receiver.URL, "CARBOND_WEBHOOKS_VIEWS=desk=projects", "CARBOND_WEBHOOKS_SECRET_FILE=" + secret,
	}
	program.Must(t, env, "migrate")
	const changes, kills = 200, 4
	pgtest.Exec(t, url, "INSERT INTO verra(project_id, supply) VALUES ('P', -1)")
	d := serve(t, env)
	until := func(what string, ok func() bool) {
		t.Helper()
		programtest.Until(t, 2*time.Minute, what, ok)
	}
	// A new hook hears of what comes.
	n := 0
	until("first delivery", func() bool {
		pgtest.Exec(t, url, fmt.Sprintf("UPDATE verra SET supply = -2 - %d", n))
		n++
		return box.taken() > 0
	})
	seed := rand.Uint64()
	t.Logf("seed %d of the kills", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before, next := box.taken(), 0
	for k := range kills + 1 {
		for range changes / (kills + 1) {
			pgtest.Exec(t, url, fmt.Sprintf("UPDATE verra SET supply = %d", next))
			next++
		}
		if k == kills {
			break
		}
		aim := before + rng.IntN(next)
		until("delivery", func() bool { return box.taken() >= aim })
		_ = d.Cmd.Process.Kill() // it may have ended, which Done says
		<-d.Done
		d = serve(t, env)
	}
	all := func() bool {
		box.mu.Lock()
		defer box.mu.Unlock()
		for i := range next {
			if !box.supplies[fmt.Sprint(float64(i))] {
				return false
			}
		}
		return true
	}
	until("delivery of all", all)
	d.stop(t)
	box.mu.Lock()
	defer box.mu.Unlock()
	if len(box.twice) > 0 {
		t.Errorf("deliveries of one transaction have several ids: %q", box.twice)
	}
	t.Logf("%d deliveries of %d transactions", len(box.offsets), len(box.ids))
	// What is delivered again was there before: offsets that are new only grow.
	seen, top := map[uint64]bool{}, uint64(0)
	for _, at := range box.offsets {
		if !seen[at] && at < top {
			t.Errorf("offset %d came behind %d", at, top)
		}
		seen[at], top = true, max(top, at)
	}
}
