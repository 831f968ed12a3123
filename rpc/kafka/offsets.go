package kafka

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/store/change"
)

// Times that ListOffsets gives a meaning of their own.
const (
	timeLatest   = -1
	timeEarliest = -2
	timeMax      = -3
)

func (c *conn) listOffsets(ctx context.Context, q *kmsg.ListOffsetsRequest) kmsg.Response {
	r := kmsg.NewPtrListOffsetsResponse()
	for _, t := range q.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = p.Partition, -1, -1, -1
			if rp.ErrorCode = c.checkEpoch(t.Topic, p.Partition, p.CurrentLeaderEpoch); rp.ErrorCode == 0 {
				at, when, err := c.offsetAt(ctx, t.Topic, p.Timestamp)
				rp.Offset, rp.Timestamp, rp.LeaderEpoch, rp.ErrorCode = at, when, c.epoch(), code(err)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// checkEpoch makes sure that a partition is here, and that the client and the
// broker speak of the same history; -1 is a client that says nothing of it.
func (c *conn) checkEpoch(topic string, partition, epoch int32) int16 {
	_, ok := c.topic(topic)
	switch {
	case !ok || partition != 0:
		return errUnknownTopicOrPartition
	case epoch >= 0 && epoch < c.epoch():
		return errFencedLeaderEpoch
	case epoch > c.epoch():
		return errUnknownLeaderEpoch
	}
	return 0
}

// offsetAt returns the first message whose time is not before a time in
// milliseconds, and its time; -1 and -1 when there is none.
func (c *conn) offsetAt(ctx context.Context, topic string, ms int64) (offset, when int64, err error) {
	first, next, err := c.bounds(ctx, topic)
	if err != nil {
		return -1, -1, err
	}
	switch ms {
	case timeEarliest:
		return int64(first), -1, nil
	case timeLatest:
		return int64(next), -1, nil
	case timeMax:
		if t, ok := c.topic(topic); ok && next > first {
			return int64(next) - 1, t.Last.UnixMilli(), nil
		}
		return -1, -1, nil
	}
	done, err := c.scan(ctx)
	if err != nil {
		return -1, -1, err
	}
	defer done()
	at, err := c.log.FirstAfter(ctx, time.UnixMilli(ms).Add(-time.Microsecond))
	var gone *change.CompactedError
	if errors.As(err, &gone) {
		at, err = gone.Oldest-1, nil // all that is kept is later
	}
	if err != nil {
		return -1, -1, err
	}
	n, err := c.log.MessagesUpTo(ctx, topic, at)
	if err != nil || n >= next {
		return -1, -1, err
	}
	when, err = c.timeOf(ctx, topic, n)
	return int64(n), when, err
}

// timeOf returns the time of a message in milliseconds.
func (c *conn) timeOf(ctx context.Context, topic string, number uint64) (int64, error) {
	at, _, err := c.log.FindMessage(ctx, topic, number)
	if err != nil {
		return -1, err
	}
	recs, err := c.log.NewReader(at).Read(1)
	if err != nil || len(recs) == 0 {
		return -1, err
	}
	return millis(recs[0].CommitTime), nil
}

func (c *conn) offsetForLeaderEpoch(ctx context.Context, q *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	r := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range q.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, -1, -1
			if rp.ErrorCode = c.checkEpoch(t.Topic, p.Partition, p.CurrentLeaderEpoch); rp.ErrorCode == 0 && p.LeaderEpoch >= 0 && p.LeaderEpoch <= c.epoch() {
				end, err := c.endOfEpoch(ctx, t.Topic, p.LeaderEpoch)
				rp.LeaderEpoch, rp.EndOffset, rp.ErrorCode = p.LeaderEpoch, int64(end), code(err)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// endOfEpoch returns the offset behind the last message of an epoch: behind it the
// data went on otherwise, after a restore. Of what retention has taken it is the
// first that is kept.
func (c *conn) endOfEpoch(ctx context.Context, topic string, epoch int32) (uint64, error) {
	h := c.log.History()
	if int(epoch) >= len(h.Parents) {
		t, _ := c.topic(topic)
		return t.Messages, nil
	}
	done, err := c.scan(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	n, err := c.log.MessagesUpTo(ctx, topic, h.Parents[epoch].Last)
	if errors.As(err, new(*change.CompactedError)) {
		n, _, err = c.log.Messages(ctx, topic)
	}
	return n, err
}
