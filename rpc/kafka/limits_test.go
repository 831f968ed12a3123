package kafka_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/rpc/internal/debezium"
	"carbond/rpc/kafka"
	"carbond/store/change"
)

// value reads a gauge or a counter.
func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.Metric[0].GetGauge().GetValue() + f.Metric[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// until waits for what another goroutine does.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// fetchFrame asks for all topics from the beginning.
func fetchFrame(topics []change.Topic, most, partition, least int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.MaxBytes, q.MinBytes, q.MaxWaitMillis, q.ReplicaID = most, least, 300_000, -1
	for _, topic := range topics {
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = partition, -1, -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.Partitions = topic.Name, []kmsg.FetchRequestTopicPartition{p}
		q.Topics = append(q.Topics, t)
	}
	return q
}

// TestSlowClients: clients that ask for much and take nothing hold a bounded number
// of bytes, lose it in the end, and slow nobody.
func TestSlowClients(t *testing.T) {
	const (
		clients = 60
		bound   = 16<<20 + 4<<20 + clients*300<<10 // what is free at first, an answer that was begun, and a batch each
	)
	reg := prometheus.NewRegistry()
	w := newWorld(t, kafka.Options{Format: debezium.Connect, Registerer: reg, MaxStall: 2 * time.Second, PeerShare: 1})
	w.write(t, 3000)
	most := 0.0
	for range clients {
		c := dial(t, w.addr)
		if err := c.conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		q := fetchFrame(w.Topics(), 1<<30, 1<<30, 1)
		q.SetVersion(11)
		if _, err := c.conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 1)); err != nil {
			t.Fatal(err)
		}
		most = max(most, value(t, reg, "carbond_kafka_unsent_bytes"))
	}
	until(t, "nobody holds anything", func() bool {
		now := value(t, reg, "carbond_kafka_unsent_bytes")
		most = max(most, now)
		return now > 0
	})
	if ms, p := dial(t, w.addr).fetch(w.Topics()[0].Name, 0, nil); len(ms) == 0 || p.ErrorCode != 0 {
		t.Errorf("beside them: %d messages, error %d", len(ms), p.ErrorCode)
	}
	until(t, "slow clients hold what they do not take", func() bool {
		now := value(t, reg, "carbond_kafka_unsent_bytes")
		most = max(most, now)
		return now == 0
	})
	if most > bound {
		t.Errorf("slow clients hold %.0f bytes, more than %d", most, bound)
	}
}

// TestManyConnections: those beyond the limit are closed at once, those that say
// nothing soon after, and who is served stays so.
func TestManyConnections(t *testing.T) {
	const limit, more = 100, 900
	reg := prometheus.NewRegistry()
	w := newWorld(t, kafka.Options{MaxConnections: limit, PeerShare: 1, MaxStall: time.Second, Registerer: reg})
	served := dial(t, w.addr)
	ask[*kmsg.ApiVersionsResponse](served, kmsg.NewPtrApiVersionsRequest(), 3)
	silent := make([]*client, limit+more)
	for i := range silent {
		silent[i] = dial(t, w.addr)
		ask[*kmsg.ApiVersionsResponse](served, kmsg.NewPtrApiVersionsRequest(), 3)
	}
	for _, c := range silent {
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := c.conn.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, io.ErrNoProgress) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if n := value(t, reg, "carbond_kafka_connections_refused_total"); n < more/2 {
		t.Errorf("%.0f connections were refused", n)
	}
	ask[*kmsg.ApiVersionsResponse](served, kmsg.NewPtrApiVersionsRequest(), 3)
}

// TestTenThousandConnections opens as many as the machine's limit of files lets one process
// have, at most 10,000: those that are let in say half a request and wait. The listener holds no more than
// its limit and some kilobytes for each, and goes on serving.
func TestTenThousandConnections(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	raised := files
	raised.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files) }()
	limit := min(1024, int(files.Max)/20)
	many := min(10_000, int(files.Max)-2*limit-200) // each is a file of ours, and one of the listener's while it is let in
	reg := prometheus.NewRegistry()
	w := newWorld(t, kafka.Options{MaxConnections: limit, PeerShare: 1, MaxStall: time.Hour, Registerer: reg})
	served := dial(t, w.addr)
	ask[*kmsg.ApiVersionsResponse](served, kmsg.NewPtrApiVersionsRequest(), 3)
	before := memory()
	half := []byte{0, 0, 0x10, 0, 0, 3, 0, 12} // a request of 4 KiB, of which no more comes
	open := make([]net.Conn, 0, many)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range many {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatalf("connection %d: %v", len(open), err)
		}
		_, _ = c.Write(half) // who is refused may not get that far
		open = append(open, c)
	}
	until(t, "the rest is refused", func() bool {
		return int(value(t, reg, "carbond_kafka_connections_refused_total")) >= many-limit
	})
	if n := value(t, reg, "carbond_kafka_connections"); int(n) > limit {
		t.Errorf("%.0f connections are open", n)
	}
	if grown := memory() - before; grown > int64(limit)*64<<10 {
		t.Errorf("%d connections hold %d bytes", limit, grown)
	}
	ask[*kmsg.ApiVersionsResponse](served, kmsg.NewPtrApiVersionsRequest(), 3)
	t.Logf("%d connections at a limit of %d files", many, files.Max)
}

// memory is what the heap and the stacks hold.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestFetchBounds: an answer has at most the bytes that were asked for, or one batch,
// says so at once when nothing more fits, and reaches all topics in the end.
func TestFetchBounds(t *testing.T) {
	w := newWorld(t, kafka.Options{Format: debezium.Connect})
	w.write(t, 1500)
	c := dial(t, w.addr)
	for name, tt := range map[string]struct{ most, partition, least int32 }{
		"no room":                 {0, 0, 1},
		"room for one byte":       {1, 1, 1},
		"room for some batches":   {600 << 10, 1 << 30, 1},
		"more wanted than fits":   {600 << 10, 1 << 30, 1 << 30},
		"more wanted than is had": {1 << 30, 300 << 10, 1 << 30},
	} {
		q := fetchFrame(w.Topics(), tt.most, tt.partition, tt.least)
		seen := map[string]int64{}
		for len(seen) < len(w.Topics()) {
			r := ask[*kmsg.FetchResponse](c, q, 12)
			size, parts := 0, 0
			for i := range r.Topics {
				p := &r.Topics[i].Partitions[0]
				ms := c.decode(p.RecordBatches)
				if len(ms) == 0 {
					continue
				}
				if parts++; ms[0].offset != q.Topics[i].Partitions[0].FetchOffset {
					t.Fatalf("%s: message %d, want %d", name, ms[0].offset, q.Topics[i].Partitions[0].FetchOffset)
				}
				q.Topics[i].Partitions[0].FetchOffset = ms[len(ms)-1].offset + 1
				if size += len(p.RecordBatches); ms[len(ms)-1].offset+1 == p.HighWatermark {
					seen[r.Topics[i].Topic] = p.HighWatermark
					q.MinBytes = 1 // what is left may be less than what was wanted
				}
			}
			if parts == 0 || size > int(tt.most) && parts > 1 && tt.most > 0 {
				t.Fatalf("%s: %d bytes of %d topics", name, size, parts)
			}
		}
	}
}

// TestLargeRequests: what a producer may send is refused in its own words, whatever
// its size; of others nobody has to make room for so much.
func TestLargeRequests(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	w.write(t, 10)
	q := kmsg.NewPtrProduceRequest()
	q.Acks = -1
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = make([]byte, 1_000_000)
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = w.Topics()[0].Name, []kmsg.ProduceRequestTopicPartition{p}
	q.Topics = []kmsg.ProduceRequestTopic{topic}
	if r := ask[*kmsg.ProduceResponse](dial(t, w.addr), q, 9); r.Topics[0].Partitions[0].ErrorCode != 29 {
		t.Errorf("a message is written: error %d", r.Topics[0].Partitions[0].ErrorCode)
	}
	m := kmsg.NewPtrMetadataRequest()
	for range 100_000 {
		m.Topics = append(m.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("x")})
	}
	if _, err := dial(t, w.addr).try(m, 9); err == nil {
		t.Error("a request of 100,000 topics is read")
	}
	m.Topics = m.Topics[:5_000]
	if r := ask[*kmsg.MetadataResponse](dial(t, w.addr), m, 9); len(r.Topics) != 5_000 {
		t.Errorf("an answer about %d topics", len(r.Topics))
	}
}

// TestRawToken: the handshake of before Kafka 1.0, which kafka-python still has.
func TestRawToken(t *testing.T) {
	w := newWorld(t, kafka.Options{Allows: func(token, _ string) (read, admin, consume bool) { return token == "reader", false, false }})
	for token, known := range map[string]bool{"reader": true, "wrong": false, "": false} {
		c := dial(t, w.addr)
		h := kmsg.NewPtrSASLHandshakeRequest()
		h.Mechanism = "PLAIN"
		if r := ask[*kmsg.SASLHandshakeResponse](c, h, 0); r.ErrorCode != 0 {
			t.Fatalf("handshake: error %d", r.ErrorCode)
		}
		message := []byte("\x00u\x00" + token)
		if _, err := c.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := io.ReadFull(c.conn, make([]byte, 4))
		if (err == nil) != known {
			t.Errorf("token %q: %v", token, err)
		}
		if known {
			ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 1)
		}
	}
}
