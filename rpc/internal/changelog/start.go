package changelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// span is what a Consume stream delivers: of each wanted topic the
// records from an offset on.
type span struct {
	from map[string]change.Offset
	// head is the first offset that is read, the least of from, and plain that of
	// tables without a view, 0 for none.
	head, plain change.Offset
	// end is the last offset without follow.
	end change.Offset
}

// start resolves where a stream begins. member is nil without a group.
func (s *Service) start(ctx context.Context, q *pb.ConsumeRequest, topics []change.Topic) (span, error) {
	newest := s.log.Position().Offset
	if err := s.sameHistory(ctx, q); err != nil {
		return span{}, err
	}
	sp := span{from: make(map[string]change.Offset, len(topics)), end: newest}
	var one change.Offset
	switch at := q.Start.(type) {
	case nil:
		for _, t := range topics {
			from, err := s.committedStart(ctx, q.Group, t)
			if err != nil {
				return sp, err
			}
			sp.add(t, from)
		}
		return sp, s.check(ctx, sp.head)
	case *pb.ConsumeRequest_Earliest:
		for _, t := range topics {
			sp.add(t, s.earliest(t))
		}
		return sp, s.check(ctx, sp.head)
	case *pb.ConsumeRequest_Latest:
		one = newest + 1
	case *pb.ConsumeRequest_Offset:
		one = max(1, change.Offset(at.Offset))
	case *pb.ConsumeRequest_Time:
		before, err := s.before(ctx, at.Time)
		if err != nil {
			return sp, err
		}
		one = before + 1
	}
	for _, t := range topics {
		sp.add(t, one)
	}
	return sp, s.check(ctx, sp.head)
}

// earliest is where the log has all of a topic from.
func (s *Service) earliest(t change.Topic) change.Offset {
	oldest := s.log.Oldest()
	if t.Plain {
		oldest = s.log.Floor()
	}
	return s.log.History().Before(oldest) + 1 // the newest is not behind it in an empty log
}

// sameHistory refuses a stream whose client knows another history.
func (s *Service) sameHistory(ctx context.Context, q *pb.ConsumeRequest) error {
	if q.History == "" {
		return nil // the offset speaks for itself
	}
	from := max(change.Offset(q.GetOffset()), 1)
	err := s.log.History().Check(q.History, from-1)
	var other *change.HistoryError
	if errors.As(err, &other) {
		other.Offset = from // as the client has it
	}
	return s.status(ctx, err)
}

// add sets where a topic begins.
func (p *span) add(t change.Topic, from change.Offset) {
	p.from[t.Name] = from
	if p.head == 0 || from < p.head {
		p.head = from
	}
	if t.Plain && (p.plain == 0 || from < p.plain) {
		p.plain = from
	}
}

// check refuses a start that the log does not reach, or that is of another
// history.
func (s *Service) check(ctx context.Context, head change.Offset) error {
	oldest, newest := s.bounds()
	h := s.log.History()
	at, err := h.From(head)
	switch {
	case err != nil:
		return s.status(ctx, err)
	case at < oldest:
		return outOfRange(rpcerr.ReasonCompacted, oldest, newest, fmt.Errorf("offset %d is gone: retention keeps %d and later", head, oldest))
	case at > h.After(newest):
		return outOfRange(rpcerr.ReasonFuture, oldest, newest,
			fmt.Errorf("offset %d is not reached: the newest is %d; was an older copy of the data directory restored?", head, newest))
	}
	return nil
}

// committedStart is where a group goes on in a topic. A topic of which retention
// has taken no change since the commit goes on wherever the log begins: nothing
// of it was lost.
func (s *Service) committedStart(ctx context.Context, group string, t change.Topic) (change.Offset, error) {
	earliest := s.earliest(t)
	if group == "" {
		return earliest, nil
	}
	at := s.log.Committed(group, t.Name)
	if at == 0 {
		return earliest, nil
	}
	if at+1 >= earliest {
		return at + 1, nil
	}
	begins, last, err := s.log.Gone(t.Name)
	if err != nil {
		return 0, s.status(ctx, err)
	}
	if last > at {
		return at + 1, nil // check says that it is gone
	}
	return begins, nil
}

// before returns the last offset before the first transaction that was committed
// at or after an RFC 3339 time. Commit times have microseconds.
func (s *Service) before(ctx context.Context, text string) (change.Offset, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, rpcerr.BadField("time", "is not an RFC 3339 time such as 2024-05-01T12:00:00Z")
	}
	at, err := s.log.FirstAfter(ctx, t.Add(-time.Microsecond))
	if _, ok := errors.AsType[*change.CompactedError](err); ok {
		oldest, newest := s.bounds()
		return 0, outOfRange(rpcerr.ReasonCompacted, oldest, newest,
			fmt.Errorf("what was committed at %s is gone: retention keeps offset %d and later", text, oldest))
	}
	return at, s.status(ctx, err)
}
