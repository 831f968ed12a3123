package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"google.golang.org/grpc/codes"

	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// HeaderCommitTime is the reply header with the commit time that an answer as
// of then reflects, in RFC 3339.
const HeaderCommitTime = "carbond-commit-time"

// Going back costs reading the changelog since then, so that a few past versions
// are kept for a while: a client that pages through one asks again and again.
const (
	keptVersions = 4
	keptFor      = time.Minute
)

// asOf is what a query says about time. The zero asOf is now.
type asOf struct {
	offset uint64
	time   string
	lsn    change.LSN // of the request header
}

func (a asOf) set() bool { return a != asOf{} }

// scope is what page tokens of the query are bound to beside call and filter.
func (a asOf) scope() string {
	s := " as of offset " + strconv.FormatUint(a.offset, 10) + " time " + a.time
	if a.lsn > 0 {
		s += " lsn " + a.lsn.String()
	}
	return s
}

// field names what was given, for errors.
func (a asOf) field() string {
	switch {
	case a.lsn > 0:
		return HeaderAtLSN
	case a.offset != 0:
		return "as_of_offset"
	}
	return "as_of_time"
}

// pastVersions answers for earlier versions of the views.
type pastVersions struct {
	history History // nil = there is no history
	now     func() time.Time
	// One slot for each reading of the changelog, by kind: many who ask for the past
	// must not keep watchers from coming back.
	versions, resumes chan struct{}

	mu   sync.Mutex // guards kept
	kept *simplelru.LRU[versionKey, cachedVersion]
}

// versionKey is which version it is, and of what it is one.
type versionKey struct {
	at change.Offset
	of change.Selection
}

type cachedVersion struct {
	snap  change.ViewSnapshot
	until time.Time
}

func newPastVersions(opt *Options) *pastVersions {
	p := &pastVersions{history: opt.History, now: opt.Now, versions: make(chan struct{}, opt.MaxHistoric), resumes: make(chan struct{}, opt.MaxHistoric)}
	p.kept, _ = simplelru.NewLRU[versionKey, cachedVersion](keptVersions, nil) // errs only below 1
	return p
}

// enter waits for a slot; the caller calls the returned function when done.
func enter(ctx context.Context, slots chan struct{}) (func(), error) {
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// follow is History.Follow inside a slot: the start reads the changelog.
func (p *pastVersions) follow(ctx context.Context, at change.Offset) (change.Follower, error) {
	leave, err := enter(ctx, p.resumes)
	if err != nil {
		return nil, err
	}
	defer leave()
	return p.history.Follow(ctx, at)
}

// at returns the version that a query asks for, or that a page token goes on
// with. It answers for the selection alone.
func (p *pastVersions) at(ctx context.Context, a asOf, of change.Selection, resumed *change.Offset) (change.ViewSnapshot, error) {
	leave, err := enter(ctx, p.versions)
	if err != nil {
		return nil, err
	}
	defer leave()
	at := change.Offset(a.offset)
	switch {
	case resumed != nil:
		at = *resumed
	case a.lsn > 0:
		if at, err = p.history.AtLSN(ctx, a.lsn); err != nil {
			return nil, err
		}
	case a.time != "":
		t, err := time.Parse(time.RFC3339Nano, a.time)
		if err != nil {
			return nil, rpcerr.BadField("as_of_time", "is not a time like 2024-01-31T12:00:00Z")
		}
		if t.After(p.now()) {
			return nil, rpcerr.New(codes.OutOfRange, "as_of_time lies in the future", rpcerr.Info(rpcerr.ReasonFuture))
		}
		if at, err = p.history.AtTime(ctx, t); err != nil {
			return nil, err
		}
	}
	near, exact := p.nearest(at, of)
	if exact {
		return near, nil
	}
	snap, err := p.history.AsOf(ctx, at, of, near)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept.Add(versionKey{at, of}, cachedVersion{snap, p.now().Add(keptFor)})
	return snap, nil
}

// nearest returns the kept version of a selection that is nearest to an offset, and
// whether it is the one. Old ones go: they keep rows in memory that nothing else needs.
func (p *pastVersions) nearest(at change.Offset, of change.Selection) (near change.ViewSnapshot, exact bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, least := p.now(), change.Offset(math.MaxUint64)
	for _, k := range p.kept.Keys() {
		v, _ := p.kept.Peek(k)
		if now.After(v.until) {
			p.kept.Remove(k)
		} else if far := max(k.at, at) - min(k.at, at); k.of == of && far < least {
			near, least = v.snap, far
		}
	}
	if least == 0 {
		p.kept.Get(versionKey{at, of}) // the last one to go
	}
	return near, least == 0
}

// checkAsOf refuses what cannot be asked as of then.
func (c *core) checkAsOf(l list, a asOf) error {
	switch {
	case l.sql:
		return rpcerr.BadField(a.field(), "is not for NonStreaming calls: Postgres answers for now only")
	case a.offset != 0 && a.time != "":
		return rpcerr.BadField("as_of_time", "cannot be given with as_of_offset")
	case a.lsn > 0 && (a.offset != 0 || a.time != ""):
		return rpcerr.BadField(HeaderAtLSN, "cannot be given with as_of_offset or as_of_time")
	case c.opt.History == nil:
		// An answer as of now would look like one of the past.
		return rpcerr.New(codes.Unimplemented, "this server answers as of now only; leave out as_of_offset and as_of_time", rpcerr.Info(rpcerr.ReasonAsOf))
	}
	return nil
}

// readPast finds the version of then. Its answer goes past the cache, whose place is
// for what many ask for.
func (c *core) readPast(ctx context.Context, r *reading, a asOf) error {
	r.skip = true
	if a.lsn > 0 {
		// What is not here yet is not as of then.
		if err := c.waitLSN(ctx, a.lsn); err != nil {
			return err
		}
	}
	if c.reader.Snapshot() == nil {
		return rpcerr.NotLoaded()
	}
	snap, err := c.past.at(ctx, a, change.Selection{View: r.list.view, Filter: r.sel.filter}, r.page.version)
	if err != nil {
		return c.callError(ctx, asOfError(err, c.reader.Snapshot().Offset()))
	}
	// A time gives the same version for every page, whatever commits meanwhile.
	version := snap.Offset()
	r.snap, r.page.version = snap, &version
	return nil
}

func asOfError(err error, newest change.Offset) error {
	var gone *change.CompactedError
	var other *change.HistoryError
	switch {
	case errors.As(err, &other):
		return rpcerr.New(codes.OutOfRange, "as_of_"+other.Error(), rpcerr.Info(rpcerr.ReasonOtherHistory))
	case errors.As(err, &gone):
		return rpcerr.Compacted("retention has passed the version that was asked for", gone)
	case errors.Is(err, change.ErrFuture):
		n := rpcerr.Offset(newest)
		return rpcerr.New(codes.OutOfRange, "as_of_offset is not reached yet; the newest is "+n, rpcerr.Info(rpcerr.ReasonFuture, "newest_offset", n))
	}
	return err
}

// putVersion puts the version before the body of a page token.
func (p *page) putVersion(body []byte) []byte {
	if p.version == nil {
		return body
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(*p.version)), body...)
}

func cutVersion(body []byte) (*change.Offset, []byte, error) {
	if len(body) < 8 {
		return nil, nil, wire.ErrToken
	}
	at := change.Offset(binary.BigEndian.Uint64(body))
	return &at, body[8:], nil
}
