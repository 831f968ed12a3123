package kafka

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/store/change"
)

const (
	// maxFetch bounds an answer, whatever a client asks for. A batch beyond it is
	// sent whole, and alone.
	maxFetch = 4 << 20
	// maxWait bounds how long a client may ask to wait for more.
	maxWait = 5 * time.Minute
)

func (c *conn) fetch(ctx context.Context, q *kmsg.FetchRequest) kmsg.Response {
	r := kmsg.NewPtrFetchResponse()
	// Sessions are refused: a client that tries to begin one gets id 0 and says
	// in full each time what it wants.
	if q.SessionID != 0 {
		r.ErrorCode = errFetchSessionNotFound
		return r
	}
	wait := time.NewTimer(min(max(0, time.Duration(q.MaxWaitMillis)*time.Millisecond), maxWait))
	defer wait.Stop()
	for {
		changed, open := c.log.Changed()
		size, failed := c.collect(ctx, q, r)
		if size >= int(q.MinBytes) || failed || !open || q.MinBytes <= 0 {
			return r
		}
		select {
		case <-changed:
		case <-wait.C:
			return r
		case <-ctx.Done():
			return r
		}
	}
}

// collect fills an answer with what there is. failed reports whether a partition
// has an error, of which a client hears at once.
func (c *conn) collect(ctx context.Context, q *kmsg.FetchRequest, r *kmsg.FetchResponse) (size int, failed bool) {
	r.Topics = r.Topics[:0]
	limit := maxFetch
	if q.MaxBytes > 0 {
		limit = min(limit, int(q.MaxBytes))
	}
	for _, t := range q.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := c.partition(ctx, t.Topic, p, limit-size, size == 0)
			size += len(rp.RecordBatches)
			failed = failed || rp.ErrorCode != 0
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return size, failed
}

// partition reads what a client wants of a topic, as many batches as fit, but one
// at least when it is the first of the answer.
func (c *conn) partition(ctx context.Context, topic string, q kmsg.FetchRequestTopicPartition, limit int, first bool) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = q.Partition, -1, -1, -1, -1
	p.RecordBatches = []byte{}
	if p.ErrorCode = c.checkEpoch(topic, q.Partition, q.CurrentLeaderEpoch); p.ErrorCode != 0 {
		return p
	}
	epoch := c.epoch()
	low, high, err := c.bounds(ctx, topic)
	if err == nil && q.LastFetchedEpoch >= 0 && q.LastFetchedEpoch < epoch {
		end, eerr := c.endOfEpoch(ctx, topic, q.LastFetchedEpoch)
		if err = eerr; err == nil && uint64(q.FetchOffset) > end {
			p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = q.LastFetchedEpoch, int64(end)
			return p
		}
	}
	if err == nil && (q.FetchOffset < int64(low) || q.FetchOffset > int64(high)) {
		err = &change.CompactedError{}
	}
	limit = min(limit, int(q.PartitionMaxBytes))
	next := uint64(max(q.FetchOffset, 0))
	for err == nil && next < high && (len(p.RecordBatches) < limit || first && len(p.RecordBatches) == 0) {
		var b *batch
		if b, err = c.reader(topic).batch(ctx, next, epoch); b == nil {
			break
		}
		if len(p.RecordBatches)+len(b.data) > limit && !(first && len(p.RecordBatches) == 0) {
			break
		}
		p.RecordBatches = append(slices.Grow(p.RecordBatches, len(b.data)), b.data...)
		next = b.next
	}
	if err != nil {
		p.ErrorCode = code(err)
		if p.ErrorCode == errKafkaStorage && !errors.Is(err, context.Canceled) {
			c.opt.Log.Error("Kafka client cannot be served", "topic", topic, "offset", q.FetchOffset, "error", err)
		}
		p.RecordBatches = []byte{}
	}
	if t, ok := c.topic(topic); ok { // after reading: no batch ends behind it
		high = t.Messages
	}
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = int64(high), int64(high), int64(low)
	c.met.bytes.Add(float64(len(p.RecordBatches)))
	return p
}
