package daemon

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// TestWatch holds the promise of the Watch calls: whatever clients do, a copy
// with the deltas applied is the view at the offset of the message, by the naive
// model and not by the store's own word. The ring is small, so that readers
// fall off it, and resumes read the changelog.
func TestWatch(t *testing.T) {
	const transactions = 1200
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w, _ := newWatchWorld(t, seed, store.Options{SegmentBytes: 64 << 10},
		rpc.Options{WatchRingBytes: 24 << 10, WatchProgress: 20 * time.Millisecond})
	keys := []watcher{{view: change.ViewProjects}, {view: change.ViewNews}, {view: change.ViewFinance}, {view: change.ViewProjects, filter: "Nowhere"}}
	for _, f := range storetest.Countries[:3] {
		keys = append(keys, watcher{view: change.ViewProjects, filter: f})
	}
	for _, f := range storetest.Outlets[:3] {
		keys = append(keys, watcher{view: change.ViewNews, filter: f})
	}
	for _, f := range storetest.Tickers {
		keys = append(keys, watcher{view: change.ViewFinance, filter: f})
	}
	ctx := deadline(t)
	var final atomic.Uint64
	var resumes, cuts atomic.Int64
	var wg sync.WaitGroup
	for i := range keys {
		c, rng := &keys[i], rand.New(rand.NewPCG(seed, uint64(i)))
		c.w = w
		wg.Go(func() {
			if err := c.wander(ctx, rng, &final, &resumes, &cuts); err != nil {
				t.Error(err)
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range transactions {
		w.apply(storetest.Split(w.src.Next(), 1+rng.IntN(4))...)
		if rng.IntN(2) == 0 {
			<-tick.C // batches of one and of several
		}
	}
	final.Store(uint64(w.store.Position().Offset))
	w.finish()
	wg.Wait()
	messages := 0
	for i := range keys {
		messages += keys[i].messages
	}
	t.Logf("%d messages, %d resumes, %d cuts", messages, resumes.Load(), cuts.Load())
	if resumes.Load() == 0 {
		t.Error("nobody resumed")
	}
}

// wander reads until the final offset: now and then it reconnects, begins again,
// or does something else for a while first.
func (c *watcher) wander(ctx context.Context, rng *rand.Rand, final *atomic.Uint64, resumes, cuts *atomic.Int64) error {
	defer func() { c.cancel() }()
	if err := c.open(ctx); err != nil {
		return err
	}
	for {
		whole, err := c.next()
		switch code, _ := statusReason(err); {
		case err != nil && code == codes.ResourceExhausted:
			cuts.Add(1)
			if err := c.open(ctx); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", c.key(), err)
		case !whole:
			continue
		}
		if err := c.check(); err != nil {
			return err
		}
		f := change.Offset(final.Load())
		if f != 0 && c.at == f {
			return nil
		}
		if f != 0 || rng.IntN(12) > 0 {
			continue
		}
		pause := rng.IntN(80) * rng.IntN(2)
		if rng.IntN(6) == 0 {
			c.token, c.at = "", 0
		} else {
			resumes.Add(1)
		}
		if rng.IntN(2) == 0 { // away and back; else only slow
			c.cancel()
		}
		for ; pause > 0 && final.Load() == 0; pause-- {
			if err := c.w.more(ctx); err != nil {
				return err
			}
		}
		if err := c.open(ctx); err != nil {
			return err
		}
	}
}
