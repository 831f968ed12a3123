package feeds

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"carbond/store/change"
)

// source is one upstream: when it wants to be asked, and how.
//
// The Runner calls the methods of one source from one goroutine at a time.
// poll changes the source's own memory only for what has been written, so that
// a failed write is made good by the next poll.
type source interface {
	name() string
	table() string
	// local reports whether the upstream is the user's own machine.
	local() bool
	// volatile reports whether a 404 or 410 may disable the source: feeds come
	// and go, the main upstreams do not.
	volatile() bool
	// interval is the time to the next poll, as things stand at now.
	interval(now time.Time) time.Duration
	poll(ctx context.Context, c *cycle) (result, error)
	// save returns what must survive a restart, restore takes it over. restore
	// gets nothing but what save returned, perhaps of an older version.
	save() any
	restore(data json.RawMessage) error
}

// cycle is what one poll works with.
type cycle struct {
	client *client
	clock  Clock
	log    *slog.Logger
	writer Writer
	dry    bool // preview only

	written change.Written
	edits   []change.Edit // of dry cycles, for display
}

// result is what a poll found.
type result struct {
	items     int  // rows that upstream has, as far as this poll saw
	unchanged bool // 304, or the same bodies as last time
	partial   bool // items counts a part; keep the last full count for display
	notes     []string
}

// now is the time of the clock.
func (c *cycle) now() time.Time { return c.clock.Now() }

// write stores edits in one transaction. A dry cycle collects them instead.
func (c *cycle) write(ctx context.Context, edits ...change.Edit) error {
	if c.dry {
		c.edits = append(c.edits, edits...)
		return nil
	}
	n, err := c.writer.Write(ctx, edits)
	if err != nil {
		kind := KindWrite
		if ctx.Err() != nil {
			kind = transportKind(ctx.Err())
		}
		return &Error{Kind: kind, Op: "store rows", Err: err}
	}
	c.written = c.written.Add(n)
	return nil
}

// get fetches r under the rules of conduct.
func (c *cycle) get(ctx context.Context, r *request) (*response, error) { return c.client.do(ctx, r) }
