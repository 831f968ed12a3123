package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/group"
)

// Join makes member the consumer of a group and gives it a new generation. A
// member that is consuming already gets ErrMemberActive; any other is fenced.
// The caller calls Leave at its end.
func (s *Store) Join(name, member string) (change.Member, error) {
	if !validName(name) || !validName(member) {
		return change.Member{}, fmt.Errorf("join group %q as %q: %w", name, member, change.ErrGroupName)
	}
	return s.groups.Join(name, member, false)
}

// JoinAlone is Join for one who speaks for several members and tells them apart
// itself: while it is there nobody else joins, and it gets ErrGroupBusy while
// somebody else is there.
func (s *Store) JoinAlone(name, holder string) (change.Member, error) {
	if !validName(name) || !validName(holder) {
		return change.Member{}, fmt.Errorf("join group %q as %q: %w", name, holder, change.ErrGroupName)
	}
	return s.groups.Join(name, holder, true)
}

// CommitMessages stores durably, and for all topics at once, where a group goes on
// in their messages; it may lie before what was committed. generation is that of
// JoinAlone, or 0 for a group that nobody consumes. Errors: ErrStaleGeneration,
// ErrGroupBusy, ErrTopicUnknown, ErrFuture, ErrTooManyGroups. A place that retention
// has passed is kept as it is.
func (s *Store) CommitMessages(ctx context.Context, name string, generation uint64, places map[string]change.MessagePlace) error {
	if !validName(name) {
		return fmt.Errorf("group %q: %w", name, change.ErrGroupName)
	}
	g, _ := s.groups.Get(name)
	commits := map[string]group.Commit{}
	for topic, p := range places {
		c, err := s.placed(ctx, topic, p.Next, g.Topics[topic])
		if err != nil {
			return fmt.Errorf("commit message %d of %s: %w", p.Next, topic, err)
		}
		c.Place, c.At = &p, time.Now().UTC()
		commits[topic] = c
	}
	return s.groups.CommitPlaces(name, generation, commits)
}

func validName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// Committed returns the offset up to which a group has dealt with a topic, 0
// when it has committed nothing there.
func (s *Store) Committed(name, topic string) change.Offset {
	g, _ := s.groups.Get(name)
	return g.Topics[topic].Offset
}

// CommitOffset stores a commit durably. Errors: ErrStaleGeneration,
// ErrGroupUnknown, ErrCommitBackwards, ErrTopicUnknown, ErrFuture.
func (s *Store) CommitOffset(ctx context.Context, c change.GroupCommit) error {
	if !s.isTopic(c.Topic) {
		return fmt.Errorf("%q: %w", c.Topic, change.ErrTopicUnknown)
	}
	// A number before the first one here says that nothing has been dealt with:
	// its generation proves that the member is one of this log's groups.
	h := s.History()
	if err := h.Check("", c.Offset); err != nil && h.UpTo(c.Offset) > 0 {
		return fmt.Errorf("commit offset %d: %w", c.Offset, err)
	}
	if c.Offset = h.UpTo(c.Offset); c.Offset > s.Position().Offset {
		return fmt.Errorf("commit offset %d: %w", c.Offset, change.ErrFuture)
	}
	g, _ := s.groups.Get(c.Group)
	rank, err := s.rank(ctx, c.Topic, c.Offset, g.Topics[c.Topic])
	if err != nil {
		return err
	}
	return s.groups.Commit(c.Group, c.Generation, c.Member, c.Topic, group.Commit{Offset: c.Offset, Rank: rank, At: time.Now().UTC()})
}

// rank counts the records of a topic up to an offset, from an earlier place
// whose rank is known, or from the start of the nearest segment.
func (s *Store) rank(ctx context.Context, topic string, off change.Offset, known group.Commit) (uint64, error) {
	from, n := known.Offset, known.Rank
	starts, err := s.starts(topic)
	if err != nil {
		return 0, err
	}
	if off < from || from == 0 {
		from, n = starts[0].Visible, 0
		if st, _, err := s.topicAtStart(starts[0], topic); err == nil {
			n = st.Records
		}
	}
	for _, b := range slices.Backward(starts) {
		if b.Visible > from && b.Visible <= off {
			st, _, err := s.topicAtStart(b, topic)
			if err != nil {
				return 0, err
			}
			from, n = b.Visible, st.Records
			break
		}
	}
	_, err = s.countMessages(ctx, topic, max(from+1, starts[0].Next), off+1, func(change.Offset, uint64, uint64) bool {
		n++ // a record, however many messages it is
		return true
	})
	return n, err
}

// Places returns what a group has committed, by topic, without its lag: the log is
// not read for it.
func (s *Store) Places(name string) map[string]change.GroupTopic {
	g, _ := s.groups.Get(name)
	out := map[string]change.GroupTopic{}
	for topic, c := range g.Topics {
		out[topic] = change.GroupTopic{Topic: topic, Committed: c.Offset, At: c.At, Place: c.Place}
	}
	return out
}

// Consumers returns the names of the groups, each with the member that consumes now,
// "" when none does.
func (s *Store) Consumers() map[string]string {
	all, active := s.groups.All()
	out := map[string]string{}
	for name := range all {
		out[name] = active[name]
	}
	return out
}

// Groups lists the consumer groups by name, with their lag.
func (s *Store) Groups() []change.Group {
	all, active := s.groups.All()
	topics := s.Topics()
	out := make([]change.Group, 0, len(all))
	for name, g := range all {
		d := change.Group{Name: name, Generation: g.Generation, Active: active[name]}
		for _, t := range topics {
			c, ok := g.Topics[t.Name]
			if !ok {
				continue
			}
			p := change.GroupTopic{Topic: t.Name, Committed: c.Offset, At: c.At, Place: c.Place}
			if t.Records > c.Rank {
				p.Lag = t.Records - c.Rank
				p.LagTime = s.lagTime(t.Name, c.Offset)
			}
			d.Topics = append(d.Topics, p)
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b change.Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// lagTime is the age of the first record of a topic behind an offset. It reads
// a few megabytes at most: behind that, the age of what it has seen is a lower
// bound and good enough.
func (s *Store) lagTime(topic string, behind change.Offset) time.Duration {
	r, of := s.NewReader(max(behind+1, s.Oldest())), topicFilter(topic)
	var seen time.Time
	for range 8 {
		if s.changelog.Busy() { // who looks at figures does not wait for the writer
			break
		}
		recs, err := r.Read(readBytes)
		if err != nil || len(recs) == 0 {
			break
		}
		for i := range recs {
			seen = recs[i].CommitTime
			if recs[i].Op != change.Retract && of(recs[i].Relation) {
				return max(0, time.Since(seen))
			}
		}
	}
	if seen.IsZero() {
		return 0
	}
	return max(0, time.Since(seen))
}

// ResetGroup moves a group without a consumer to another place in the given
// topics; off is the last offset that counts as dealt with.
func (s *Store) ResetGroup(ctx context.Context, name string, topics []string, off change.Offset) error {
	if !validName(name) {
		return fmt.Errorf("reset group %q: %w", name, change.ErrGroupName)
	}
	places := map[string]group.Commit{}
	for _, t := range topics {
		if !s.isTopic(t) {
			return fmt.Errorf("%q: %w", t, change.ErrTopicUnknown)
		}
		h := s.History()
		at := min(h.UpTo(max(off, s.oldest(t)-1)), s.Position().Offset)
		rank, err := s.rank(ctx, t, at, group.Commit{})
		if err != nil {
			return err
		}
		places[t] = group.Commit{Offset: at, Rank: rank, At: time.Now().UTC()}
	}
	return s.groups.Reset(name, places)
}

// SyncGroups takes over what other nodes have made of the groups, and fences members that
// another node has replaced. Errors: ErrGroupsAway.
func (s *Store) SyncGroups(ctx context.Context) error { return s.groups.Sync(ctx) }

// DeleteGroup forgets a group without a consumer.
func (s *Store) DeleteGroup(name string) error { return s.groups.Delete(name) }
