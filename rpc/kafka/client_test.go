package kafka_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// client speaks the protocol by hand: what a client library would hide shows.
type client struct {
	t    *testing.T
	conn net.Conn
	n    int32

	packed int // batches that came compressed
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t: t, conn: c}
}

// try sends a request in a version and reads the answer.
func (c *client) try(q kmsg.Request, version int16) (kmsg.Response, error) {
	q.SetVersion(version)
	c.n++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	if _, err := c.conn.Write(f.AppendRequest(nil, q, c.n)); err != nil {
		return nil, err
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	head := make([]byte, 8)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, err
	}
	if n := int32(binary.BigEndian.Uint32(head[4:])); n != c.n {
		return nil, fmt.Errorf("answer to request %d, not to %d", n, c.n)
	}
	r := q.ResponseKind()
	r.SetVersion(version)
	if r.IsFlexible() && q.Key() != kmsg.ApiVersions.Int16() {
		if body[0] != 0 {
			return nil, errors.New("tags in the header")
		}
		body = body[1:]
	}
	return r, r.ReadFrom(body)
}

func ask[R kmsg.Response](c *client, q kmsg.Request, version int16) R {
	c.t.Helper()
	r, err := c.try(q, version)
	if err != nil {
		c.t.Fatalf("%s: %v", kmsg.NameForKey(q.Key()), err)
	}
	return r.(R)
}

// message is what a consumer gets.
type message struct {
	offset, time int64
	key, value   string
	null         bool // a tombstone
	headers      string
}

// fetchVersion is any version that can say what is asked for.
func fetchVersion(p kmsg.FetchRequestTopicPartition) int16 {
	switch {
	case p.LastFetchedEpoch >= 0:
		return 12
	case p.CurrentLeaderEpoch >= 0:
		return 9 + rand.N[int16](4)
	}
	return 5 + rand.N[int16](8) // the first in which an answer says where the topic begins
}

// fetch asks once for messages of a topic.
func (c *client) fetch(topic string, from int64, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) ([]message, kmsg.FetchResponseTopicPartition) {
	c.t.Helper()
	q := kmsg.NewPtrFetchRequest()
	q.MaxBytes, q.ReplicaID = 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = from, 1<<20, -1, -1
	if change != nil {
		change(q, &p)
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.FetchRequestTopicPartition{p}
	q.Topics = []kmsg.FetchRequestTopic{t}
	version, packed := fetchVersion(p), c.packed
	r := ask[*kmsg.FetchResponse](c, q, version)
	if r.ErrorCode != 0 || len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		c.t.Fatalf("fetch %s from %d: %+v", topic, from, r)
	}
	out := r.Topics[0].Partitions[0]
	ms := c.decode(out.RecordBatches)
	if c.packed > packed && version < 10 {
		c.t.Fatalf("zstd in an answer of version %d", version)
	}
	if n := len(ms); n > 0 && ms[n-1].offset >= out.HighWatermark {
		c.t.Fatalf("message %d beside the high watermark %d", ms[n-1].offset, out.HighWatermark)
	}
	return ms, out
}

// decode reads record batches and checks all that they say of themselves.
func (c *client) decode(b []byte) (out []message) {
	c.t.Helper()
	for len(b) > 0 {
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(b); err != nil {
			c.t.Fatal(err)
		}
		size := 12 + int(batch.Length)
		if sum := crc32.Checksum(b[21:size], crc32.MakeTable(crc32.Castagnoli)); int32(sum) != batch.CRC || batch.Magic != 2 {
			c.t.Fatalf("a batch of format %d with checksum %d, has %d", batch.Magic, batch.CRC, sum)
		}
		raw := batch.Records
		if batch.Attributes&7 == 4 {
			dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
			if err == nil {
				raw, err = dec.DecodeAll(raw, nil)
				dec.Close()
			}
			if err != nil {
				c.t.Fatal(err)
			}
			c.packed++
		} else if batch.Attributes != 0 {
			c.t.Fatalf("attributes %#x", batch.Attributes)
		}
		for i := range batch.NumRecords {
			length, n := binary.Varint(raw)
			var r kmsg.Record
			if err := r.ReadFrom(raw[:n+int(length)]); err != nil {
				c.t.Fatal(err)
			}
			raw = raw[n+int(length):]
			m := message{offset: batch.FirstOffset + int64(r.OffsetDelta), time: batch.FirstTimestamp + r.TimestampDelta64, key: string(r.Key), value: string(r.Value), null: r.Value == nil}
			for _, h := range r.Headers {
				m.headers += h.Key + "=" + string(h.Value) + " "
			}
			if r.OffsetDelta != i || m.time > batch.MaxTimestamp {
				c.t.Fatalf("record %d has delta %d and time %d of at most %d", i, r.OffsetDelta, m.time, batch.MaxTimestamp)
			}
			out = append(out, m)
		}
		if batch.LastOffsetDelta != batch.NumRecords-1 || len(raw) > 0 {
			c.t.Fatalf("%d records, last delta %d, %d bytes left", batch.NumRecords, batch.LastOffsetDelta, len(raw))
		}
		b = b[size:]
	}
	return out
}
