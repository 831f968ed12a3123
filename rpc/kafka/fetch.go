package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/store/change"
)

const (
	// maxFetch bounds an answer, whatever a client asks for. A batch beyond it is
	// sent whole, and alone.
	maxFetch = 4 << 20
	// maxSending is the number of bytes that clients have not taken yet from which
	// each gets one batch at a time.
	maxSending = 16 << 20
	// zstdFetch is the first version of Fetch whose clients read zstd.
	zstdFetch = 10
	// maxWait bounds how long a client may ask to wait for more.
	maxWait = 5 * time.Minute
)

func (c *conn) fetch(ctx context.Context, q *kmsg.FetchRequest) kmsg.Response {
	r := &fetchAnswer{FetchResponse: kmsg.NewPtrFetchResponse()}
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
		if c.collect(ctx, q, r); r.size >= int(q.MinBytes) || r.settled || !open {
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

// fetchAnswer is an answer whose batches are sent from where they are kept.
type fetchAnswer struct {
	*kmsg.FetchResponse
	batches []net.Buffers // of each partition in turn
	size    int           // of all batches, before compression
	settled bool          // a client hears of it at once: there is an error, or no room for more
}

// collect fills an answer with what there is. The bytes count as held from before
// they are, so that many clients that ask at once do not all get much.
func (c *conn) collect(ctx context.Context, q *kmsg.FetchRequest, r *fetchAnswer) {
	r.Topics, r.batches, r.size, r.settled = r.Topics[:0], r.batches[:0], 0, false
	limit := maxFetch
	if q.MaxBytes > 0 {
		limit = min(limit, int(q.MaxBytes))
	}
	if c.hold(limit) > maxSending {
		limit = 0
		c.hold(limit)
	}
	defer func() { c.hold(r.size) }()
	for _, t := range q.Topics {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, c.partition(ctx, t.Topic, p, limit, q.Version >= zstdFetch && c.opt.Compress, r))
		}
		r.Topics = append(r.Topics, rt)
	}
}

// hold sets how many bytes of batches the client is about to be sent, and returns
// how many all are.
func (c *conn) hold(n int) (all int64) {
	all = c.sending.Add(int64(n) - c.holding)
	c.holding = int64(n)
	return all
}

// partition reads what a client wants of a topic, as many batches as fit, but one
// at least when it is the first of the answer.
func (c *conn) partition(ctx context.Context, topic string, q kmsg.FetchRequestTopicPartition, limit int, packed bool, r *fetchAnswer) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset, p.PreferredReadReplica = q.Partition, -1, -1, -1, -1
	r.batches = append(r.batches, nil)
	t, epoch, why := c.place(topic, q.Partition, q.CurrentLeaderEpoch)
	if p.ErrorCode = why; why != 0 {
		r.settled = true
		return p
	}
	low, err := c.low(ctx, topic)
	if err == nil && q.LastFetchedEpoch >= 0 && q.LastFetchedEpoch < epoch {
		of, end, eerr := c.endOfEpoch(ctx, t, q.LastFetchedEpoch)
		if err = eerr; err == nil && (uint64(q.FetchOffset) > end || of < q.LastFetchedEpoch) {
			p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = of, int64(end)
			r.settled = true
			return p
		}
	}
	if err == nil && (q.FetchOffset < int64(low) || q.FetchOffset > int64(t.Messages)) {
		err = &change.CompactedError{}
	}
	var out net.Buffers
	size, sent, next := 0, 0, uint64(max(q.FetchOffset, 0))
	for room := min(limit-r.size, int(q.PartitionMaxBytes)); err == nil && next < t.Messages; {
		var b *batch
		if b, err = c.batches.get(ctx, batchKey{topic, epoch, next, packed}); b == nil {
			break
		}
		if size+b.size > room && r.size+size > 0 {
			r.settled = true
			break
		}
		out, next = append(out, b.data), b.next
		size += b.size
		sent += len(b.data)
	}
	if err != nil {
		r.settled = true
		if p.ErrorCode = code(err); p.ErrorCode == errKafkaStorage && !errors.Is(err, context.Canceled) {
			c.opt.Log.Error("Kafka client cannot be served", "topic", topic, "offset", q.FetchOffset, "error", err)
		}
		out, size, sent = nil, 0, 0
	}
	if now, ok := c.log.Topic(topic); ok { // after reading: no batch ends behind it
		t = now
	}
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = int64(t.Messages), int64(t.Messages), int64(low)
	r.batches[len(r.batches)-1] = out
	r.size += size
	c.met.bytes.Add(float64(sent))
	return p
}

// framed writes the answer around its batches, which are not copied.
func (f *fetchAnswer) framed(correlation []byte) (out net.Buffers) {
	be, v := binary.BigEndian, f.Version
	flexible := v >= 12
	length := func(b []byte, n int) []byte {
		if flexible {
			return binary.AppendUvarint(b, uint64(n)+1)
		}
		return be.AppendUint32(b, uint32(n))
	}
	tags := func(b []byte) []byte {
		if flexible {
			b = append(b, 0)
		}
		return b
	}
	b := tags(append(make([]byte, 4, 256), correlation...))
	b = be.AppendUint32(b, uint32(f.ThrottleMillis))
	if v >= 7 {
		b = be.AppendUint32(be.AppendUint16(b, uint16(f.ErrorCode)), uint32(f.SessionID))
	}
	b = length(b, len(f.Topics))
	n := 0
	for _, t := range f.Topics {
		if flexible {
			b = length(b, len(t.Topic))
		} else {
			b = be.AppendUint16(b, uint16(len(t.Topic)))
		}
		b = length(append(b, t.Topic...), len(t.Partitions))
		for _, p := range t.Partitions {
			b = be.AppendUint16(be.AppendUint32(b, uint32(p.Partition)), uint16(p.ErrorCode))
			b = be.AppendUint64(be.AppendUint64(b, uint64(p.HighWatermark)), uint64(p.LastStableOffset))
			if v >= 5 {
				b = be.AppendUint64(b, uint64(p.LogStartOffset))
			}
			b = length(b, -1) // aborted transactions: there are none
			if v >= 11 {
				b = be.AppendUint32(b, uint32(p.PreferredReadReplica))
			}
			size := 0
			for _, d := range f.batches[n] {
				size += len(d)
			}
			if b = length(b, size); size > 0 {
				out = append(append(out, b), f.batches[n]...)
				b = nil
			}
			if d := p.DivergingEpoch; flexible && d.EndOffset >= 0 {
				b = append(b, 1, 0, 4+8+1) // one tag, of which kind, its size
				b = append(be.AppendUint64(be.AppendUint32(b, uint32(d.Epoch)), uint64(d.EndOffset)), 0)
			} else {
				b = tags(b)
			}
			n++
		}
		b = tags(b)
	}
	out = append(out, tags(b))
	total := -4
	for _, d := range out {
		total += len(d)
	}
	be.PutUint32(out[0], uint32(total))
	return out
}
