package store

import (
	"context"
	"fmt"
	"slices"

	"carbond/store/change"
	"carbond/store/internal/group"
)

// Readers that know topics apart number the messages of each topic without gaps,
// as Kafka does: a deletion is two messages (it and its tombstone), every other
// record one. The log holds the number of messages before each segment and
// behind its end; those between are counted when somebody asks.

// messages is how many messages a record is.
func messages(op change.Op) uint64 {
	switch op {
	case change.Retract, change.Removed: // consumers see the Truncate alone
		return 0
	case change.Delete:
		return 2
	}
	return 1
}

// landmark is a place in the log before which the number of messages of a topic
// is known.
type landmark struct {
	next     change.Offset // of the first change behind it
	messages uint64
}

// landmarks returns the places that are known for a topic, oldest first: the
// beginning of every segment that holds all of it, and the end of what is visible. A segment does not
// say it when a transaction was open at its start, or when a version wrote it
// that did not count; then the messages behind it are taken off those before the
// next place.
func (s *Store) landmarks(ctx context.Context, topic string) ([]landmark, error) {
	if !s.isTopic(topic) {
		return nil, fmt.Errorf("%q: %w", topic, change.ErrTopicUnknown)
	}
	starts, err := s.starts(topic)
	if err != nil {
		return nil, err
	}
	end := s.Snapshot() // behind all starts: what is visible only grows
	out := make([]landmark, len(starts)+1)
	figures, _ := end.topic(topic)
	out[len(starts)] = landmark{end.Offset() + 1, figures.Messages}
	for i, b := range slices.Backward(starts) {
		out[i].next = b.Next
		st, counted, err := s.topicAtStart(b, topic)
		if err != nil {
			return nil, err
		}
		switch {
		case b.Next > end.Offset():
			out[i] = out[i+1] // nothing of it is visible yet
		case counted && s.History().After(b.Visible) == b.Next:
			out[i].messages = st.Messages
		default:
			n, err := s.uncounted(ctx, topic, b.Next, out[i+1])
			if err != nil {
				return nil, err
			}
			out[i].messages = out[i+1].messages - n
		}
	}
	return out, nil
}

// uncounted counts the messages from an offset up to a landmark. What was counted
// is remembered, since a segment's number does not change.
func (s *Store) uncounted(ctx context.Context, topic string, from change.Offset, to landmark) (uint64, error) {
	type span struct {
		topic    string
		from, to change.Offset
	}
	key := span{topic, from, to.next}
	if n, ok := s.counted.Load(key); ok {
		return n.(uint64), nil
	}
	n, err := s.countMessages(ctx, topic, from, to.next, func(change.Offset, uint64, uint64) bool { return true })
	if err == nil {
		s.counted.Store(key, n)
	}
	return n, err
}

// countMessages counts the messages of a topic from one offset up to another,
// until visit says false; it is told each record's offset, how many messages
// came before and how many it is.
func (s *Store) countMessages(ctx context.Context, topic string, from, to change.Offset, visit func(at change.Offset, before, n uint64) bool) (sum uint64, err error) {
	r := s.newReader(from)
	of := topicFilter(topic)
	strips := s.strips(topic)
	for r.Next() < to {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		recs, err := r.Read(readBytes)
		if err != nil {
			return 0, err
		}
		if len(recs) == 0 {
			break // nothing is visible behind a hole
		}
		for i := range recs {
			if recs[i].Offset >= to {
				return sum, nil
			}
			if recs[i].Op == change.Removed && strips { // just now
				return 0, &change.CompactedError{Wanted: recs[i].Offset, Oldest: s.Floor()}
			}
			if n := messages(recs[i].Op); n > 0 && of(recs[i].Relation) {
				if !visit(recs[i].Offset, sum, n) {
					return sum, nil
				}
				sum += n
			}
		}
	}
	return sum, nil
}

// topicFilter returns what says whether a relation is of a topic.
func topicFilter(topic string) func(*change.Relation) bool {
	var last *change.Relation
	var same bool
	return func(r *change.Relation) bool {
		if r != last {
			last, same = r, r.Topic() == topic
		}
		return same
	}
}

// Messages returns the number of the first message of a topic that is kept, and
// that of the next one to come. Both are equal when none is kept.
func (s *Store) Messages(ctx context.Context, topic string) (first, next uint64, err error) {
	marks, err := s.landmarks(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	return marks[0].messages, marks[len(marks)-1].messages, nil
}

// MessagesUpTo returns how many messages of a topic the records up to an offset
// were; those that retention took count too. Errors: *change.CompactedError.
func (s *Store) MessagesUpTo(ctx context.Context, topic string, at change.Offset) (uint64, error) {
	marks, err := s.landmarks(ctx, topic)
	if err != nil {
		return 0, err
	}
	if s.History().After(at) < marks[0].next {
		return 0, fmt.Errorf("count messages of %s up to offset %d: %w", topic, at, &change.CompactedError{Wanted: at, Oldest: marks[0].next})
	}
	m, err := s.message(ctx, topic, marks, func(l landmark) bool { return l.next <= at+1 },
		func(o change.Offset, _, _ uint64) bool { return o <= at })
	return m.messages, err
}

// FindMessage returns the offset of the record that a message of a topic is, and
// the number of that record's first message. For the next message to come it is
// the offset behind what is visible. Errors: *change.CompactedError,
// change.ErrFuture.
func (s *Store) FindMessage(ctx context.Context, topic string, number uint64) (at change.Offset, first uint64, err error) {
	marks, err := s.landmarks(ctx, topic)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case number < marks[0].messages:
		err = &change.CompactedError{Oldest: marks[0].next}
	case number > marks[len(marks)-1].messages:
		err = change.ErrFuture
	}
	if err != nil {
		return 0, 0, fmt.Errorf("message %d of %s: %w", number, topic, err)
	}
	m, err := s.message(ctx, topic, marks, func(l landmark) bool { return l.messages <= number },
		func(_ change.Offset, first, n uint64) bool { return first+n <= number })
	return m.next, m.messages, err
}

// placed returns what a group has dealt with that goes on with a message: all
// records before the one that the message is. known is an earlier place of it.
func (s *Store) placed(ctx context.Context, topic string, next uint64, known group.Commit) (c group.Commit, err error) {
	marks, err := s.landmarks(ctx, topic)
	if err != nil {
		return c, err
	}
	if next > marks[len(marks)-1].messages {
		return c, change.ErrFuture
	}
	next = max(next, marks[0].messages)
	if from := (landmark{known.Offset + 1, known.Messages}); known.Place != nil && from.next > marks[0].next && from.next <= marks[len(marks)-1].next {
		i := slices.IndexFunc(marks, func(l landmark) bool { return l.next >= from.next })
		marks = slices.Insert(marks, i, from) // a group goes on from where it was
	}
	m, err := s.message(ctx, topic, marks, func(l landmark) bool { return l.messages <= next },
		func(_ change.Offset, first, n uint64) bool { return first+n <= next })
	if err != nil {
		return c, err
	}
	c.Offset, c.Messages = s.History().UpTo(m.next-1), m.messages
	c.Rank, err = s.rank(ctx, topic, c.Offset, known)
	return c, err
}

// message walks a topic from the last landmark that behind accepts, which is true
// of the first, over all records that pass accepts; pass is told their offset, the
// number of their first message and how many they are. It returns the place of the
// record at which it stopped, or of the next landmark.
func (s *Store) message(ctx context.Context, topic string, marks []landmark, behind func(landmark) bool, pass func(at change.Offset, first, n uint64) bool) (landmark, error) {
	i := slices.IndexFunc(marks[1:], func(l landmark) bool { return !behind(l) })
	if i < 0 {
		return marks[len(marks)-1], nil
	}
	m, found := marks[i], false
	sum, err := s.countMessages(ctx, topic, m.next, marks[i+1].next, func(at change.Offset, sum, n uint64) bool {
		if pass(at, m.messages+sum, n) {
			return true
		}
		m.next, found = at, true
		return false
	})
	if err == nil && !found {
		return marks[i+1], nil
	}
	m.messages += sum
	return m, err
}
