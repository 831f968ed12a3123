package watch

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/hub"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// snapshotPart bounds the encoded deltas of one message of a snapshot. It is
// what a client that connects and does not read costs.
const snapshotPart = 64 << 10

// stream is one Watch call. It is used by one goroutine.
type stream struct {
	*Service
	ss      grpc.ServerStream
	key     hub.Key
	from    *place      // of the resume token, nil = begin with a snapshot
	timeout *time.Timer // runs while a message is being sent

	at   hub.Head // what was sent so far
	sent bool     // something, since the last progress mark
}

// run joins the feed first and looks at the snapshot then, so that the ring has
// everything behind the snapshot.
func (s *stream) run(ctx context.Context) error {
	f, err := s.hub.Join(ctx)
	if err != nil {
		return s.sourceError(ctx, err)
	}
	defer f.Leave()
	if s.from == nil {
		err = s.snapshot(ctx)
	} else {
		err = s.resume(ctx, f)
	}
	if err != nil {
		return err
	}
	return s.follow(ctx, f)
}

func (s *stream) send(m any) error {
	s.timeout.Reset(s.opt.SendTimeout)
	err := s.ss.SendMsg(m)
	s.timeout.Stop()
	s.sent = true
	return err
}

// snapshot sends the view as it is now.
func (s *stream) snapshot(ctx context.Context) error {
	snap := s.opt.Snapshot()
	if snap == nil {
		return rpcerr.NotLoaded()
	}
	// The commit time of a snapshot may be that of a transaction which changed
	// nothing; the token needs that of the offset.
	commit, _, err := s.opt.History.CommitTime(snap.Offset())
	if err != nil {
		return s.sourceError(ctx, err)
	}
	s.at = hub.Head{Offset: snap.Offset(), LSN: snap.LSN(), CommitTime: snap.CommitTime(), Last: true}
	w := head{kind: pb.WatchKind_WATCH_KIND_SNAPSHOT, head: s.at}
	s.at.CommitTime = commit // also for the tokens of the progress that follows
	var part []byte
	err = nil
	snapshotRows(snap, s.key, func(d *change.Delta) bool {
		if len(part) >= snapshotPart {
			m := s.enc.message(s.key.View, &w, part)
			part = part[:0] // the message has a copy
			if err = s.send(m); err == nil {
				err = s.ended()
			}
		}
		part = s.enc.delta(part, d)
		return err == nil
	})
	if err != nil {
		return err
	}
	w.token, w.end = s.token(s.key, s.at), true
	return s.send(s.enc.message(s.key.View, &w, part))
}

// follow sends what comes behind s.at, until the end.
func (s *stream) follow(ctx context.Context, f *hub.Feed) error {
	idle := time.NewTicker(s.opt.Progress)
	defer idle.Stop()
	s.sent = false
	for {
		b, woken, err := f.After(s.at.Offset)
		switch {
		case errors.Is(err, hub.ErrGone):
			return s.cut(cutSlow, codes.ResourceExhausted, "the changes came faster than they were read; resume with the last token",
				rpcerr.ReasonSlowWatcher, time.Second)
		case err != nil:
			return s.sourceError(ctx, err)
		case b != nil:
			if err := s.deliver(b); err != nil {
				return err
			}
			continue
		}
		select {
		case <-woken:
		case <-idle.C:
			if !s.sent {
				w := head{kind: pb.WatchKind_WATCH_KIND_PROGRESS, head: s.at, token: s.token(s.key, s.at)}
				if err := s.send(s.enc.message(s.key.View, &w, nil)); err != nil {
					return err
				}
			}
			s.sent = false
		case <-s.opt.Draining:
			return s.shutdown()
		case <-ctx.Done():
			return rpcerr.FromContext(ctx.Err())
		}
	}
}

// deliver sends a batch's messages for what is behind s.at.
func (s *stream) deliver(b *hub.Batch) error {
	err := b.Each(s.key, s.at.Offset, func(m any) error {
		if err := s.ended(); err != nil {
			return err
		}
		return s.send(m)
	})
	s.at = b.Head()
	return err
}

func (s *stream) stopping() bool {
	select {
	case <-s.opt.Draining:
		return true
	default:
		return false
	}
}

// ended returns the end of the stream when the daemon stops.
func (s *stream) ended() error {
	if s.stopping() {
		return s.shutdown()
	}
	return nil
}

func (s *stream) shutdown() error {
	return s.cut(cutShutdown, codes.Unavailable, "the daemon stops; resume with the last token", rpcerr.ReasonDraining, time.Second)
}

// resume goes on behind a token: at once when the ring has what came since, else
// through the changelog until the ring has the rest.
func (s *stream) resume(ctx context.Context, f *hub.Feed) error {
	s.at = s.from.head()
	if err := s.opt.History.History().Check(s.from.history, s.from.offset); s.from.history != "" && err != nil {
		return s.otherHistory(err)
	}
	if snap := s.opt.Snapshot(); snap == nil || snap.Offset() < s.at.Offset {
		return s.cut(cutHistory, codes.OutOfRange, "the token is ahead of this changelog, which was put back to an earlier state; begin again without a token",
			rpcerr.ReasonOtherHistory, 0)
	}
	commit, ok, err := s.opt.History.CommitTime(s.at.Offset)
	var other *change.HistoryError
	if errors.As(err, &other) {
		return s.otherHistory(other)
	}
	if err != nil {
		return s.sourceError(ctx, err)
	}
	if !ok || !commit.IsZero() && s.from.commit != 0 && commit.UnixMicro() != s.from.commit {
		return s.cut(cutHistory, codes.OutOfRange, "the token is of another history of this changelog; begin again without a token",
			rpcerr.ReasonOtherHistory, 0)
	}
	if s.at.Offset >= f.Base() {
		return nil
	}
	// After a restart every watcher resumes at once: they take turns, and nobody
	// has to come again.
	select {
	case s.catchUps <- struct{}{}:
		defer func() { <-s.catchUps }()
	case <-ctx.Done():
		return rpcerr.FromContext(ctx.Err())
	case <-s.opt.Draining:
		return s.shutdown()
	}
	return s.catchUp(ctx, f)
}

func (s *stream) otherHistory(err error) error {
	return s.cut(cutHistory, codes.OutOfRange, "the token is of another history of the data; begin again without a token: "+err.Error(), rpcerr.ReasonOtherHistory, 0)
}

// catchUp reads the changelog at the client's pace.
func (s *stream) catchUp(ctx context.Context, f *hub.Feed) error {
	src, err := s.opt.CatchUp(ctx, s.at.Offset)
	for err == nil && s.at.Offset < f.Base() {
		var txns []change.ViewTxn
		if txns, err = src.Next(ctx); err != nil {
			break
		}
		for _, b := range s.hub.Pack(s.at.Offset, txns) {
			if err := s.deliver(b); err != nil {
				return err
			}
		}
	}
	if err != nil {
		return s.sourceError(ctx, err)
	}
	return nil
}

// sourceError is the status for an error of the feed or of the history.
func (s *stream) sourceError(ctx context.Context, err error) error {
	var gone *change.CompactedError
	switch {
	case ctx.Err() != nil:
		return rpcerr.FromContext(ctx.Err())
	case s.stopping(), errors.Is(err, hub.ErrClosed):
		return s.shutdown()
	case errors.As(err, &gone):
		s.cuts[cutHistory].Inc()
		return rpcerr.Compacted("the history behind the token is gone; begin again without a token", gone)
	case rpcerr.Is(err):
		return err
	}
	if n, ok := s.failures.Allow(s.opt.Now()); ok {
		s.opt.Log.Warn("follow the changelog for watchers", "error", err, "suppressed", n)
	}
	return s.cut(cutSource, codes.Unavailable, "the changelog cannot be followed now; resume with the last token", rpcerr.ReasonSource, 2*time.Second)
}
