package feeds

import (
	"context"
	"sync"

	"carbond/store/change"
)

// deskMost bounds the stories that the desk knows; beyond it is filled anew.
const deskMost = 500_000

// desk knows which feed brought which story. All news feeds share one.
type desk struct {
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

func newDesk() *desk { return &desk{owners: map[string]owner{}} }

// fill reads the stored stories once.
func (d *desk) fill(ctx context.Context, w Writer) error {
	d.mu.Lock()
	done := d.filled && len(d.owners) < deskMost
	d.mu.Unlock()
	if done {
		return nil
	}
	rows, err := w.Rows(ctx, change.News, []string{"guid", "source"})
	if err != nil {
		kind := KindWrite
		if ctx.Err() != nil {
			kind = transportKind(ctx.Err())
		}
		return &Error{Kind: kind, Op: "read stored stories", Err: err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.owners
	d.owners = make(map[string]owner, len(rows))
	outlets := map[string]string{} // one copy of each text, not one per row
	for _, r := range rows {
		outlet := r.Value(1).Text
		if _, ok := outlets[outlet]; !ok {
			outlets[outlet] = outlet
		}
		guid := r.Value(0).Text
		o := owner{feed: old[guid].feed, outlet: outlets[outlet], stored: true}
		d.owners[guid] = o
	}
	d.filled = true
	return nil
}

// claim asks for a story in the name of a feed. known reports that it is stored
// already, mine that the feed may write it.
func (d *desk) claim(guid, feed, outlet string) (known, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, ok := d.owners[guid]
	switch {
	case !ok:
		d.owners[guid] = owner{feed: feed, outlet: outlet}
		return false, true
	case o.feed == feed:
		return o.stored, true
	case o.feed == "" && o.outlet == outlet:
		o.feed = feed
		d.owners[guid] = o
		return o.stored, true
	}
	return o.stored, false
}

// holds reports whether all stories are in the table.
func (d *desk) holds(guids []string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range guids {
		if !d.owners[g].stored {
			return false
		}
	}
	return true
}

// keep records that stories are in the table.
func (d *desk) keep(guids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range guids {
		if o, ok := d.owners[g]; ok {
			o.stored = true
			d.owners[g] = o
		}
	}
}
