package changelog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/debezium"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

const (
	// pieceBytes is how much of the log a stream reads at a time; it is what a
	// stream costs in memory, with the encoded form beside it.
	pieceBytes = 128 << 10
	// messageBytes and messageRecords are where a message is cut.
	messageBytes   = 256 << 10
	messageRecords = 1000
	// progressEvery is how often a stream without records says how far it is, and
	// quietEvery how often one that gets no further says that it is there: proxies
	// end streams that say nothing.
	progressEvery, quietEvery = time.Second, 5 * time.Second
)

// Consume implements carbon.ChangelogService.
func (s *Service) Consume(q *pb.ConsumeRequest, ss pb.ChangelogService_ConsumeServer) error {
	ctx := ss.Context()
	f := &consumption{Service: s, ss: ss, follow: q.Follow, longest: q.MaxValueBytes}
	var err error
	if f.encoder, err = debezium.NewEncoder(q.Format); err != nil {
		return rpcerr.BadField("format", err.Error())
	}
	topics, err := s.topics(q.Topics)
	if err != nil {
		return err
	}
	if err := s.opt.MayUse(ctx, q.Group); err != nil {
		return err
	}
	release, err := s.consumers.Take(ctx)
	if err != nil {
		return refuse(codes.ResourceExhausted, rpcerr.ReasonConsumers, fmt.Errorf("too many consumers: %w; close one", err))
	}
	defer release()
	s.metrics.consumers.Inc()
	defer s.metrics.consumers.Dec()
	if q.Group != "" {
		m, err := s.log.Join(q.Group, q.MemberId)
		if err != nil {
			return s.status(ctx, err)
		}
		defer m.Leave()
		f.member = m
	}
	// The committed offsets are read after joining: from then on no other
	// consumer can move them.
	sp, err := s.start(ctx, q, topics)
	if err != nil {
		return err
	}
	f.cursor, f.end = newCursor(s.log, sp), sp.end
	return f.run(ctx, sp.head)
}

// consumption is one Consume stream. Send blocks while the client does not read, and
// with it the reading of the log: nothing else waits.
type consumption struct {
	*Service
	ss      pb.ChangelogService_ConsumeServer
	cursor  *Cursor
	encoder *debezium.Encoder
	member  change.Member
	follow  bool
	longest uint64        // value that the client takes, 0 for any
	end     change.Offset // where a stream without follow ends

	sent   change.Offset // next_offset of the last message
	sentAt time.Time
}

func (f *consumption) run(ctx context.Context, from change.Offset) error {
	if err := f.send(&pb.ConsumeResponse{Generation: f.member.Generation, NextOffset: uint64(from), History: f.log.History().ID}); err != nil {
		return err
	}
	for {
		if err := f.ended(ctx); err != nil {
			return err
		}
		if !f.follow && f.sent > f.end {
			return nil
		}
		changed, open := f.log.Changed()
		recs, more, err := f.cursor.Read(pieceBytes)
		if err != nil {
			return f.status(ctx, err)
		}
		if err := f.deliver(recs); err != nil {
			return err
		}
		switch {
		case !f.follow && f.cursor.Next() > f.end:
			if err := f.progress(0); err != nil {
				return err
			}
			return nil
		case more:
			if err := f.progress(progressEvery); err != nil {
				return err
			}
		case !f.follow:
			return f.status(ctx, fmt.Errorf("the log ends before offset %d, which it has announced", f.end))
		case !open:
			return draining()
		default:
			if err := f.wait(ctx, changed); err != nil {
				return err
			}
		}
	}
}

// ended reports why a stream must end, if it must.
func (f *consumption) ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return rpcerr.FromContext(ctx.Err())
	case <-f.member.Fenced:
		return f.fenced()
	case <-f.opt.Draining:
		return draining()
	default:
		return nil
	}
}

func (f *consumption) fenced() error {
	select {
	case <-f.opt.Draining: // closing the log ends every membership too
		return draining()
	default:
	}
	f.metrics.fenced.Inc()
	return refuse(codes.Aborted, rpcerr.ReasonFenced, errors.New("another member of the group has taken over"))
}

// wait waits for more to read, and says how far the stream is meanwhile.
func (f *consumption) wait(ctx context.Context, changed <-chan struct{}) error {
	every := quietEvery
	if f.cursor.Next() > f.sent {
		every = progressEvery
	}
	due := time.NewTimer(max(0, every-time.Since(f.sentAt)))
	defer due.Stop()
	select {
	case <-changed:
		return nil
	case <-due.C:
		return f.send(&pb.ConsumeResponse{NextOffset: max(f.reached(), uint64(f.sent))})
	case <-ctx.Done():
		return rpcerr.FromContext(ctx.Err())
	case <-f.member.Fenced:
		return f.fenced()
	case <-f.opt.Draining:
		return draining()
	}
}

// deliver sends records in messages of bounded size. Without follow, what came
// after the call began is not sent.
func (f *consumption) deliver(recs []Placed) error {
	m, size := &pb.ConsumeResponse{}, 0
	for i := range recs {
		p := &recs[i]
		if !f.follow && p.Offset > f.end {
			break
		}
		r := f.record(p)
		if n := len(r.ValueJson); f.longest > 0 && uint64(n) > f.longest {
			r.ValueJson, r.ValueBytes = nil, uint64(n)
		}
		if bytes := len(r.KeyJson) + len(r.ValueJson); bytes >= messageBytes { // it has a message of its own
			if m.NextOffset = r.Offset; len(m.Records) > 0 || f.sent < change.Offset(r.Offset) {
				if err := f.send(m); err != nil {
					return err
				}
			}
			if bytes+recordRoom > f.opt.MaxSendBytes {
				return tooLarge(r.Offset, bytes)
			}
			m, size = &pb.ConsumeResponse{}, 0
		}
		m.Records = append(m.Records, r)
		size += len(r.KeyJson) + len(r.ValueJson) + 64
		if size >= messageBytes || len(m.Records) >= messageRecords {
			m.NextOffset = r.Offset + 1
			if err := f.send(m); err != nil {
				return err
			}
			m, size = &pb.ConsumeResponse{}, 0
		}
	}
	if len(m.Records) == 0 {
		return nil
	}
	m.NextOffset = f.reached()
	return f.send(m)
}

// recordRoom is what a message has beside key and value of its one record, at most.
const recordRoom = 1 << 10

func tooLarge(offset uint64, bytes int) error {
	return rpcerr.New(codes.ResourceExhausted, fmt.Sprintf("the record at offset %d has %d bytes, more than a message may have; go on at offset %d, or ask with max_value_bytes for long records without their values", offset, bytes, offset+1),
		rpcerr.Info(rpcerr.ReasonRecordTooLarge, "offset", rpcerr.Offset(change.Offset(offset)), "bytes", strconv.Itoa(bytes)))
}

// reached is the next offset as the client is told: a stream without follow does
// not go beyond its end.
func (f *consumption) reached() uint64 {
	n := f.cursor.Next()
	if !f.follow {
		n = min(n, f.end+1)
	}
	return uint64(n)
}

// progress sends a message without records when the stream got further and the
// last message is old enough.
func (f *consumption) progress(every time.Duration) error {
	n := f.reached()
	if n <= uint64(f.sent) || time.Since(f.sentAt) < every {
		return nil
	}
	return f.send(&pb.ConsumeResponse{NextOffset: n})
}

func (f *consumption) send(m *pb.ConsumeResponse) error {
	if err := f.ss.Send(m); err != nil {
		return err
	}
	f.sent, f.sentAt = change.Offset(m.NextOffset), time.Now()
	return nil
}

// record encodes a record for the wire.
func (f *consumption) record(p *Placed) *pb.ChangeRecord {
	// One allocation for key and value; most records fit the guess.
	f.encoder.Source = debezium.Source{Version: f.opt.Version, Database: f.log.Position().Source.Database}
	b := f.encoder.AppendKey(make([]byte, 0, 768+2*(len(p.Before)+len(p.After))), &p.Record)
	k := len(b)
	b = f.encoder.AppendValue(b, &p.Record, p.At)
	r := &pb.ChangeRecord{
		Offset: uint64(p.Offset), Topic: p.Relation.Topic(), Op: p.Op.String(),
		KeyJson: b[:k:k], ValueJson: b[k:], Xid: p.XID, Lsn: p.LSN.String(), LastInTransaction: p.At.Last,
	}
	if !p.CommitTime.IsZero() {
		r.CommitTimeMs = p.CommitTime.UnixMilli()
	}
	return r
}
