package daemon

import (
	"context"
	"errors"
	"io"
	"time"

	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
)

// changelog lends the store to carbon.ChangelogService, whose words are its
// own.
type changelog struct {
	s       *store.Store
	version string // of this carbond, for backups
}

// Topics implements rpc.Changelog.
func (c changelog) Topics() []rpc.LogTopic {
	all := c.s.Topics()
	out := make([]rpc.LogTopic, len(all))
	for i, t := range all {
		out[i] = rpc.LogTopic{Name: t.Name, First: t.First, Next: t.Next, Records: t.Records, Bytes: t.Bytes, Last: t.Last}
	}
	return out
}

// Gone implements rpc.Changelog.
func (c changelog) Gone() (change.Offset, map[string]change.Offset, error) { return c.s.Gone() }

// Bounds implements rpc.Changelog.
func (c changelog) Bounds() (oldest, newest change.Offset) {
	return c.s.Oldest(), c.s.Position().Offset
}

// History implements rpc.Changelog.
func (c changelog) History() change.History { return c.s.History() }

// Source implements rpc.Changelog.
func (c changelog) Source() change.Source { return c.s.Position().Source }

// Changed implements rpc.Changelog.
func (c changelog) Changed() (<-chan struct{}, bool) { return c.s.Changed() }

// NewReader implements rpc.Changelog.
func (c changelog) NewReader(from change.Offset) rpc.LogReader { return logReader{c.s.NewReader(from)} }

// logReader gives the errors of a reader their meaning.
type logReader struct{ *store.Reader }

// Read implements rpc.LogReader.
func (r logReader) Read(maxBytes int) ([]change.Record, error) {
	recs, err := r.Reader.Read(maxBytes)
	return recs, logError(err)
}

// AtTime implements rpc.Changelog.
func (c changelog) AtTime(ctx context.Context, t time.Time) (change.Offset, error) {
	at, err := c.s.FirstAfter(ctx, t)
	return at, logError(err)
}

// maxGroups bounds the consumer groups: a client chooses the name, and a group
// is kept until somebody forgets it.
const maxGroups = 1000

var errManyGroups = errors.New("there are 1000 consumer groups already; forget those that nobody uses with carbond groups reset GROUP --delete")

// Join implements rpc.Changelog.
func (c changelog) Join(group, member string) (rpc.LogMember, error) {
	if n, exists := c.s.GroupCount(group); !exists && n >= maxGroups {
		return rpc.LogMember{}, &rpc.LogError{Kind: rpc.FaultTooMany, Err: errManyGroups}
	}
	m, err := c.s.Join(group, member)
	if err != nil {
		return rpc.LogMember{}, logError(err)
	}
	return rpc.LogMember{Generation: m.Generation, Fenced: m.Fenced(), Leave: m.Leave}, nil
}

// Committed implements rpc.Changelog.
func (c changelog) Committed(group, topic string) change.Offset { return c.s.Committed(group, topic) }

// CommitOffset implements rpc.Changelog.
func (c changelog) CommitOffset(ctx context.Context, at rpc.LogCommit) error {
	return logError(c.s.CommitOffset(ctx, store.GroupCommit(at)))
}

// Groups implements rpc.Changelog.
func (c changelog) Groups() []rpc.LogGroup {
	all := c.s.Groups()
	out := make([]rpc.LogGroup, len(all))
	for i, g := range all {
		out[i] = rpc.LogGroup{Name: g.Name, Generation: g.Generation, Active: g.Active}
		for _, t := range g.Topics {
			out[i].Topics = append(out[i].Topics, rpc.LogGroupTopic{Topic: t.Topic, Committed: t.Committed, Lag: t.Lag, LagTime: t.LagTime, At: t.At})
		}
	}
	return out
}

// ResetGroup implements rpc.Changelog.
func (c changelog) ResetGroup(ctx context.Context, group string, topics []string, at change.Offset) error {
	if n, exists := c.s.GroupCount(group); !exists && n >= maxGroups {
		return &rpc.LogError{Kind: rpc.FaultTooMany, Err: errManyGroups}
	}
	return logError(c.s.ResetGroup(ctx, group, topics, at))
}

// DeleteGroup implements rpc.Changelog.
func (c changelog) DeleteGroup(group string) error { return logError(c.s.DeleteGroup(group)) }

// Backup implements rpc.Changelog.
func (c changelog) Backup(ctx context.Context, w io.Writer) error {
	return logError(c.s.Backup(ctx, w, c.version))
}

// logError says what an error of the store means for a caller.
func logError(err error) error {
	if err == nil {
		return nil
	}
	var gone *store.CompactedError
	if errors.As(err, &gone) {
		return &rpc.LogError{Kind: rpc.FaultCompacted, Oldest: gone.Oldest, Err: err}
	}
	for _, m := range []struct {
		is   error
		kind rpc.Fault
	}{
		{store.ErrFuture, rpc.FaultFuture},
		{store.ErrMemberActive, rpc.FaultActive},
		{store.ErrStaleGeneration, rpc.FaultStale},
		{store.ErrCommitBackwards, rpc.FaultBackwards},
		{store.ErrGroupBusy, rpc.FaultBusy},
		{store.ErrGroupUnknown, rpc.FaultGroup},
		{store.ErrTopicUnknown, rpc.FaultTopic},
		{store.ErrGroupName, rpc.FaultName},
		{store.ErrClosed, rpc.FaultClosed},
	} {
		if errors.Is(err, m.is) {
			return &rpc.LogError{Kind: m.kind, Err: err}
		}
	}
	return err
}
