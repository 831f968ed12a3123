package kafka

import (
	"context"
	"errors"
	"sort"
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
			topic, epoch, why := c.place(t.Topic, p.Partition, p.CurrentLeaderEpoch)
			if rp.ErrorCode = why; why == 0 {
				at, when, err := c.offsetAt(ctx, topic, p.Timestamp)
				rp.Offset, rp.Timestamp, rp.LeaderEpoch, rp.ErrorCode = at, when, epoch, code(err)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// place returns a topic and its epoch. It makes sure that the partition is here, and
// that the client and the broker speak of the same history; -1 is a client that says
// nothing of it.
func (c *conn) place(topic string, partition, epoch int32) (change.Topic, int32, int16) {
	t, ok := c.log.Topic(topic)
	here := c.epoch()
	switch {
	case !ok || partition != 0:
		return t, here, errUnknownTopicOrPartition
	case epoch >= 0 && epoch < here:
		return t, here, errFencedLeaderEpoch
	case epoch > here:
		return t, here, errUnknownLeaderEpoch
	}
	return t, here, 0
}

// offsetAt returns the first message whose time is not before a time in
// milliseconds, and its time; -1 and -1 when there is none.
func (c *conn) offsetAt(ctx context.Context, t change.Topic, ms int64) (offset, when int64, err error) {
	if ms == timeLatest {
		return int64(t.Messages), -1, nil
	}
	first, err := c.low(ctx, t.Name)
	switch {
	case err != nil:
		return -1, -1, err
	case ms == timeEarliest:
		return int64(first), -1, nil
	case first >= t.Messages:
		return -1, -1, nil
	case ms == timeMax:
		return int64(t.Messages) - 1, millis(t.Last), nil
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
	n, err := c.log.MessagesUpTo(ctx, t.Name, at)
	if errors.As(err, &gone) { // a table without a view: likewise
		n, err = first, nil
	}
	if err != nil || n >= t.Messages {
		return -1, -1, err
	}
	when, err = c.timeOf(ctx, t.Name, n)
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
			topic, here, why := c.place(t.Topic, p.Partition, p.CurrentLeaderEpoch)
			if rp.ErrorCode = why; why == 0 && p.LeaderEpoch >= 0 && p.LeaderEpoch <= here {
				epoch, end, err := c.endOfEpoch(ctx, topic, p.LeaderEpoch)
				rp.LeaderEpoch, rp.EndOffset, rp.ErrorCode = epoch, int64(end), code(err)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// endOfEpoch returns the newest epoch of this log that is not behind the given one,
// and the offset behind its last message: there the data went on otherwise, after a
// restore. Of what retention has taken it is the first that is kept.
func (c *conn) endOfEpoch(ctx context.Context, t change.Topic, epoch int32) (of int32, end uint64, err error) {
	h := c.log.History()
	all := h.Epochs()
	i := sort.Search(len(all), func(i int) bool { return all[i] > epoch }) - 1
	if i == len(h.Parents) {
		return all[i], t.Messages, nil
	}
	done, err := c.scan(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	end, err = c.log.MessagesUpTo(ctx, t.Name, h.Parents[i].Last)
	if errors.As(err, new(*change.CompactedError)) {
		end, _, err = c.log.Messages(ctx, t.Name)
	}
	return all[i], end, err
}
