package replicate_test

import (
	"sync"
	"testing"
	"time"

	"carbond/replicate"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// What was durable before Postgres went back in time says nothing about the time
// after: nobody is level before the new copy is durable.
func TestNotLevelDuringCopy(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt, sink := options(url), newSink()
	opt.OnGap = replicate.GapResnapshot
	r := run(t, sink, opt)
	r.level()
	entered, held := make(chan struct{}, 10), make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	sink.setHook(func(txns []change.Txn) error {
		if len(txns) > 0 && txns[0].Snapshot != nil {
			entered <- struct{}{}
			<-held
		}
		return nil
	})
	// From here on the sink stands where the server has never been.
	sink.mu.Lock()
	sink.pos.LSN += 1 << 40
	sink.mu.Unlock()
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('1')")
	r.level()
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL AND database = current_database()")
	<-entered
	since := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 25 {
		<-tick.C
		if s := r.Status(); s.LastLevel.After(since) {
			t.Fatalf("level during the copy: %+v", s)
		}
	}
	sink.setHook(nil)
	release()
	r.level()
	sink.sameAsSQL(t, url)
}
