package cache

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Key names one reply. Filter "" is the reply without a filter, which no filter
// value can be mistaken for, whatever the printed form says.
type Key struct {
	View   string // "projects", "nonstreaming_news", "project", ...
	Filter string
}

// String returns the printed form: "projects:ALL", "projects:Brazil".
func (k Key) String() string {
	if k.Filter == "" {
		return k.View + ":ALL"
	}
	return k.View + ":" + k.Filter
}

// Item is what a load returns.
type Item[V any] struct {
	Value V
	Size  int  // bytes that the value keeps alive
	Keep  bool // false: hand out, but do not store
}

// Load computes a value. Its context ends when nobody waits for it any more.
type Load[V any] func(context.Context) (Item[V], error)

// Result says where a value came from.
type Result uint8

// The results.
const (
	Hit    Result = iota // stored
	Miss                 // loaded by this caller
	Shared               // loaded by another caller at the same time
)

// Options bound a Cache.
type Options struct {
	MaxBytes   int64            // 0 = no bound
	MaxEntries int              // default 65,536
	TTL        time.Duration    // 0 = an entry lasts as long as its stamp
	Now        func() time.Time // default time.Now
}

// overhead is charged for each entry beside its value: the LRU element, the map
// slot and the stamp.
const overhead = 384

// Cache is a cache of values of type V with stamps of type S. It is safe for
// concurrent use. Wait joins its loads.
type Cache[S comparable, V any] struct {
	opt Options

	mu        sync.Mutex // guards what follows
	lru       *simplelru.LRU[Key, *entry[S, V]]
	bytes     int64
	evictions uint64
	flights   map[flightKey[S]]*flight[V]

	loads sync.WaitGroup
}

type entry[S comparable, V any] struct {
	stamp   S
	value   V
	size    int64
	expires time.Time
	hits    uint64
}

// New returns an empty cache.
func New[S comparable, V any](opt Options) *Cache[S, V] {
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = math.MaxInt64
	}
	if opt.MaxEntries <= 0 {
		opt.MaxEntries = 1 << 16
	}
	if opt.TTL <= 0 {
		opt.TTL = math.MaxInt64
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	c := &Cache[S, V]{opt: opt, flights: make(map[flightKey[S]]*flight[V])}
	// The only error is a size below 1.
	c.lru, _ = simplelru.NewLRU(opt.MaxEntries, func(_ Key, e *entry[S, V]) { c.bytes -= e.size })
	return c
}

// Get returns the value of a key under a stamp, from the store or by load.
func (c *Cache[S, V]) Get(ctx context.Context, key Key, stamp S, load Load[V]) (V, Result, error) {
	c.mu.Lock()
	if e, ok := c.lru.Get(key); ok && e.stamp == stamp {
		if c.opt.Now().Before(e.expires) {
			e.hits++
			c.mu.Unlock()
			return e.value, Hit, nil
		}
		c.lru.Remove(key)
	}
	result := Shared
	fk := flightKey[S]{key, stamp}
	f, ok := c.flights[fk]
	if !ok {
		result = Miss
		f = c.start(ctx, fk, load)
	}
	f.waiters++
	c.mu.Unlock()

	select {
	case <-f.done:
		return f.item.Value, result, f.err
	case <-ctx.Done():
		c.leave(fk, f)
		var none V
		return none, result, context.Cause(ctx)
	}
}

// store keeps an item. The caller holds mu.
func (c *Cache[S, V]) store(key Key, stamp S, it Item[V]) {
	size := int64(it.Size) + int64(len(key.View)+len(key.Filter)) + overhead
	if size > c.opt.MaxBytes {
		return
	}
	c.lru.Remove(key)
	for c.bytes+size > c.opt.MaxBytes || c.lru.Len() >= c.opt.MaxEntries {
		c.lru.RemoveOldest()
		c.evictions++
	}
	c.lru.Add(key, &entry[S, V]{stamp: stamp, value: it.Value, size: size, expires: c.opt.Now().Add(c.opt.TTL)})
	c.bytes += size
}

// Stats are the figures of a Cache.
type Stats struct {
	Entries   int
	Bytes     int64
	Evictions uint64 // entries that made room for others
}

// Stats returns the present figures.
func (c *Cache[S, V]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{c.lru.Len(), c.bytes, c.evictions}
}

// Entry is what a Cache holds for a key.
type Entry struct {
	Key  Key
	Age  time.Duration
	TTL  time.Duration // until it is loaded again, whatever its stamp; 0 when it is over
	Size int64         // bytes
	Hits uint64
}

// Entries lists what is stored, the last used first.
func (c *Cache[S, V]) Entries() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, out := c.opt.Now(), make([]Entry, 0, c.lru.Len())
	for _, key := range slices.Backward(c.lru.Keys()) {
		e, _ := c.lru.Peek(key)
		left := e.expires.Sub(now)
		out = append(out, Entry{Key: key, Age: c.opt.TTL - left, TTL: max(left, 0), Size: e.size, Hits: e.hits})
	}
	return out
}

// Purge forgets every entry and returns what they were. Loads under way go on.
func (c *Cache[S, V]) Purge() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, bytes = c.lru.Len(), c.bytes
	c.lru.Purge()
	return entries, bytes
}

// Wait returns when no load is under way. Callers stop calling Get first.
func (c *Cache[S, V]) Wait() { c.loads.Wait() }
