package main

import (
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// TestOneVerdict: /readyz, gRPC health, the page, /status.json and the metric say
// the same, whatever happens to Postgres. A restart of Postgres takes nothing out
// of service; what streaming cannot mend does, and no remedy says that it will.
func TestOneVerdict(t *testing.T) {
	pg := pgtest.Start(t)
	url := pg.Database(t)
	p := start(t, append(embedded(t), "CARBOND_POSTGRES_URL="+url, "CARBOND_POSTGRES_SLOT=verdict", "CARBOND_LIMITS_LAG_SECONDS=2"), "serve")

	// agree waits until every door says ready, or every door says not ready.
	agree := func(when string, ready bool) {
		t.Helper()
		code, word, health, page, gauge := 503, `"ready": false`, "NOT_SERVING", "carbond: Not ready</title>", "carbond_serving 0"
		if ready {
			code, word, health, page, gauge = 200, `"ready": true`, "SERVING", "carbond: Ready", "carbond_serving 1"
		}
		p.until(when, func() bool {
			got, reasons := p.get("/readyz?verbose")
			_, status := p.get("/status.json")
			_, html := p.get("/")
			_, metrics := p.get("/metrics")
			_, out, _ := command(t, nil, "healthcheck", "--addr", p.grpc)
			return got == code && strings.Contains(reasons, word) && strings.Contains(status, word) &&
				strings.HasPrefix(out, health+"\n") && strings.Contains(html, page) && strings.Contains(metrics, "\n"+gauge+"\n")
		})
	}
	p.line("serving")
	agree("ready", true)

	pg.Stop(t, pgtest.Fast)
	p.until("a word about the lost connection beside ready", func() bool {
		code, reasons := p.get("/readyz?verbose")
		return code == 200 && strings.Contains(reasons, "serving data of") || code == 503
	})
	agree("not ready once the lag is over its limit", false)
	pg.Resume(t)
	agree("ready again", true)

	// The slot goes: nothing that the daemon does brings the changes back.
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL")
	p.until("the slot dropped", func() bool {
		return pgtest.Text(t, url, `WITH gone AS (SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active)
			SELECT count(*) FROM gone`)[0][0] == "1"
	})
	agree("not ready in a gap", false)
	_, reasons := p.get("/readyz?verbose")
	if !strings.Contains(reasons, "remedy: ") || strings.Contains(reasons, "mends itself") || strings.Contains(reasons, "tried again all the time") {
		t.Errorf("no remedy that works: %s", reasons)
	}
}
