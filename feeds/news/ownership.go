package news

import (
	"context"
	"sync"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// maxStories bounds the stories that are known; beyond it they are read again.
const maxStories = 500_000

// ownership knows which feed brought which story. All news feeds share one.
type ownership struct {
	mu     sync.Mutex // guards all below
	filled bool
	owners map[string]owner
}

// owner is the feed that a story belongs to; of stored stories whose feed is
// not remembered only the outlet is known.
type owner struct {
	feed, outlet string
	stored       bool
}

// fill reads the stored stories once.
func (own *ownership) fill(ctx context.Context, c *poll.Cycle) error {
	own.mu.Lock()
	done := own.filled && len(own.owners) < maxStories
	own.mu.Unlock()
	if done {
		return nil
	}
	rows, err := c.Stored(ctx, change.News, "guid", "source")
	if err != nil {
		return err
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	old := own.owners
	own.owners = make(map[string]owner, len(rows))
	outlets := map[string]string{} // one copy of each text, not one per row
	for _, r := range rows {
		outlet := r.Value(1).Text
		if _, ok := outlets[outlet]; !ok {
			outlets[outlet] = outlet
		}
		guid := r.Value(0).Text
		o := owner{feed: old[guid].feed, outlet: outlets[outlet], stored: true}
		own.owners[guid] = o
	}
	own.filled = true
	return nil
}

// claim asks for a story in the name of a feed. known reports that it is stored
// already, mine that the feed may write it.
func (own *ownership) claim(guid, feed, outlet string) (known, mine bool) {
	own.mu.Lock()
	defer own.mu.Unlock()
	o, ok := own.owners[guid]
	switch {
	case !ok:
		own.owners[guid] = owner{feed: feed, outlet: outlet}
		return false, true
	case o.feed == feed:
		return o.stored, true
	case o.feed == "" && o.outlet == outlet:
		o.feed = feed
		own.owners[guid] = o
		return o.stored, true
	}
	return o.stored, false
}

// holds reports whether all stories are in the table.
func (own *ownership) holds(guids []string) bool {
	own.mu.Lock()
	defer own.mu.Unlock()
	for _, g := range guids {
		if !own.owners[g].stored {
			return false
		}
	}
	return true
}

// keep records that stories are in the table.
func (own *ownership) keep(guids []string) {
	own.mu.Lock()
	defer own.mu.Unlock()
	for _, g := range guids {
		if o, ok := own.owners[g]; ok {
			o.stored = true
			own.owners[g] = o
		}
	}
}
