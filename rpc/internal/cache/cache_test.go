package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"carbond/rpc/internal/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	store = cache.Cache[int, string]
	item  = cache.Item[string]
)

func value(v string) cache.Load[string] {
	return func(context.Context) (item, error) { return item{Value: v, Size: len(v), Keep: true}, nil }
}

func mustGet(t *testing.T, c *store, k cache.Key, stamp int, load cache.Load[string], want string, from cache.Result) {
	t.Helper()
	v, r, err := c.Get(t.Context(), k, stamp, load)
	if err != nil || v != want || r != from {
		t.Fatalf("get %v at %d: %q, result %d, %v; want %q, result %d", k, stamp, v, r, err, want, from)
	}
}

func TestValidity(t *testing.T) {
	now := time.Unix(0, 0)
	c := cache.New[int, string](cache.Options{TTL: time.Minute, Now: func() time.Time { return now }})
	k := cache.Key{View: "projects"}
	mustGet(t, c, k, 1, value("a"), "a", cache.Miss)
	mustGet(t, c, k, 1, value("b"), "a", cache.Hit)
	mustGet(t, c, k, 2, value("b"), "b", cache.Miss) // inputs changed
	mustGet(t, c, k, 2, value("c"), "b", cache.Hit)
	mustGet(t, c, k, 1, value("a"), "a", cache.Miss) // an older view never sees newer rows
	now = now.Add(time.Minute)
	mustGet(t, c, k, 1, value("d"), "d", cache.Miss) // lifetime over
}

func TestKeys(t *testing.T) {
	for want, k := range map[string]cache.Key{
		"projects:ALL":                 {View: "projects"},
		"projects:Brazil":              {View: "projects", Filter: "Brazil"},
		"nonstreaming_projects:Brazil": {View: "nonstreaming_projects", Filter: "Brazil"},
	} {
		if k.String() != want {
			t.Errorf("%#v prints as %s, want %s", k, k, want)
		}
	}
	// A country with the name ALL is not the list of all.
	c := cache.New[int, string](cache.Options{})
	mustGet(t, c, cache.Key{View: "projects"}, 1, value("all"), "all", cache.Miss)
	mustGet(t, c, cache.Key{View: "projects", Filter: "ALL"}, 1, value("one"), "one", cache.Miss)
}

func TestByteBound(t *testing.T) {
	const bound = 64 << 10
	c := cache.New[int, string](cache.Options{MaxBytes: bound})
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		k := cache.Key{View: "v", Filter: fmt.Sprint(r.IntN(300))}
		n := r.IntN(4096)
		if r.IntN(50) == 0 {
			n = bound + 1 // larger than the whole cache
		}
		if _, _, err := c.Get(t.Context(), k, r.IntN(3), value(string(make([]byte, n)))); err != nil {
			t.Fatal(err)
		}
		if s := c.Stats(); s.Bytes > bound || s.Bytes < 0 {
			t.Fatalf("%d bytes held, the bound is %d", s.Bytes, bound)
		}
	}
	if s := c.Stats(); s.Evictions == 0 || s.Entries == 0 {
		t.Fatalf("nothing was evicted or kept: %+v", s)
	}
	c.Purge()
	if s := c.Stats(); s.Bytes != 0 || s.Entries != 0 {
		t.Fatalf("after purge: %+v", s)
	}
}

func TestEntryBound(t *testing.T) {
	c := cache.New[int, string](cache.Options{MaxEntries: 10})
	for i := range 100 {
		mustGet(t, c, cache.Key{View: "v", Filter: fmt.Sprint(i)}, 1, value("x"), "x", cache.Miss)
	}
	if s := c.Stats(); s.Entries != 10 || s.Evictions != 90 {
		t.Fatalf("%+v", s)
	}
}

func TestNotKept(t *testing.T) {
	boom := errors.New("boom")
	loads := map[string]cache.Load[string]{
		"not to keep": func(context.Context) (item, error) { return item{Value: "x"}, nil },
		"error":       func(context.Context) (item, error) { return item{Keep: true}, boom },
		"panic":       func(context.Context) (item, error) { panic("broken") },
	}
	for name, load := range loads {
		t.Run(name, func(t *testing.T) {
			c := cache.New[int, string](cache.Options{})
			_, _, err := c.Get(t.Context(), cache.Key{View: "v"}, 1, load)
			var p *cache.PanicError
			switch {
			case name == "error" && !errors.Is(err, boom), name == "panic" && (!errors.As(err, &p) || len(p.Stack) == 0):
				t.Fatalf("error %v", err)
			}
			mustGet(t, c, cache.Key{View: "v"}, 1, value("good"), "good", cache.Miss)
		})
	}
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[int, string](cache.Options{})
		k := cache.Key{View: "v"}
		gate := make(chan struct{})
		var loads atomic.Int32
		load := func(context.Context) (item, error) {
			loads.Add(1)
			<-gate
			return item{Value: "x", Size: 1, Keep: true}, nil
		}
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := c.Get(first, k, 1, load); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who left got %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				if v, r, err := c.Get(t.Context(), k, 1, load); v != "x" || r != cache.Shared || err != nil {
					t.Errorf("%q %d %v", v, r, err)
				}
			})
		}
		synctest.Wait()
		cancel() // the one who began it leaves
		synctest.Wait()
		close(gate)
		wg.Wait()
		c.Wait()
		if n := loads.Load(); n != 1 {
			t.Fatalf("%d loads for one key and stamp", n)
		}
		mustGet(t, c, k, 1, load, "x", cache.Hit)
	})
}

func TestAbandonedLoadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[int, string](cache.Options{})
		k := cache.Key{View: "v"}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			_, _, _ = c.Get(ctx, k, 1, func(ctx context.Context) (item, error) {
				<-ctx.Done()
				<-ended // slow to notice
				return item{}, ctx.Err()
			})
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		// Who comes now does not get the end of the abandoned load.
		mustGet(t, c, k, 1, value("fresh"), "fresh", cache.Miss)
		close(ended)
		c.Wait()
		mustGet(t, c, k, 1, value("x"), "fresh", cache.Hit)
	})
}

// TestNeverStale compares with a model: whatever changes, a caller gets what his
// own stamp says.
func TestNeverStale(t *testing.T) {
	c := cache.New[int, string](cache.Options{MaxBytes: 8 << 10, TTL: time.Hour})
	var truth [8]atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 9))
			for range 5000 {
				i := r.IntN(len(truth))
				if r.IntN(4) == 0 {
					truth[i].Add(1)
				}
				stamp := int(truth[i].Load())
				want := fmt.Sprintf("%d@%d", i, stamp)
				v, _, err := c.Get(context.Background(), cache.Key{View: "v", Filter: fmt.Sprint(i)}, stamp, value(want))
				if err != nil || v != want {
					t.Errorf("got %q, %v; want %q", v, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
	c.Wait()
}

func TestHitAllocatesNothing(t *testing.T) {
	c := cache.New[int, string](cache.Options{})
	k := cache.Key{View: "v", Filter: "f"}
	load := value("x")
	mustGet(t, c, k, 1, load, "x", cache.Miss)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _, _ = c.Get(ctx, k, 1, load) }); n != 0 {
		t.Fatalf("a hit allocates %v times", n)
	}
}

// TestEntries lists what is stored, the last used first, with its age and hits.
func TestEntries(t *testing.T) {
	now := time.Unix(1000, 0)
	c := cache.New[int, string](cache.Options{TTL: 300 * time.Second, Now: func() time.Time { return now }})
	get := func(view string) {
		t.Helper()
		_, _, err := c.Get(t.Context(), cache.Key{View: view}, 1, func(context.Context) (cache.Item[string], error) {
			return cache.Item[string]{Value: view, Size: 100, Keep: true}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	get("news")
	now = now.Add(10 * time.Second)
	get("finance")
	get("news")
	get("news")
	got := c.Entries()
	if len(got) != 2 || got[0].Key.View != "news" || got[0].Hits != 2 || got[0].Age != 10*time.Second || got[0].TTL != 290*time.Second ||
		got[1].Key.View != "finance" || got[1].Hits != 0 || got[1].Age != 0 || got[0].Size <= 100 {
		t.Errorf("got %+v", got)
	}
	bytes := got[0].Size + got[1].Size
	if n, b := c.Purge(); n != 2 || b != bytes || len(c.Entries()) != 0 || c.Stats().Bytes != 0 {
		t.Errorf("forgot %d entries of %d bytes, want 2 of %d; left %+v", n, b, bytes, c.Stats())
	}
}
