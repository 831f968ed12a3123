package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
	"carbond/rpc/kafka"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with a listener in front of it.
type world struct {
	*store.Store
	opt  kafka.Options
	dir  string
	addr string
	src  *storetest.Source
	stop func()
}

func newWorld(t *testing.T, opt kafka.Options) *world {
	t.Helper()
	w := &world{opt: opt, dir: filepath.Join(t.TempDir(), "data"), src: storetest.NewSource(rand.Uint64())}
	w.src.Plain = true
	w.start(t)
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	if w.Store, err = store.Open(w.dir, store.Options{NoSync: true, SegmentBytes: 64 << 10, CheckpointInterval: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	srv, err := kafka.New(w.Store, w.opt)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = lis.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis) }()
	w.stop = func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func (w *world) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := w.Apply(t.Context(), []change.Txn{w.src.Next()}); err != nil {
			t.Fatal(err)
		}
	}
}

// forget lets retention take what it can.
func (w *world) forget(t *testing.T) {
	t.Helper()
	oldest, floor := w.Oldest(), w.Floor()
	w.SetRetention(store.Retention{Bytes: 100 << 10, TablesBytes: 8 << 10})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for (w.Oldest() == oldest || w.Floor() == floor) && ctx.Err() == nil {
		<-tick.C
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// expected is a topic as the changelog has it, message by message.
func (w *world) expected(t *testing.T, topic string) (out []message) {
	t.Helper()
	e, err := debezium.NewEncoder(w.opt.Format)
	if err != nil {
		t.Fatal(err)
	}
	e.Source = debezium.Source{Version: w.opt.Version}
	first, _, err := w.Messages(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	from := w.Oldest()
	if topic, _ := w.Topic(topic); topic.Plain {
		from = w.Floor()
	}
	c := changelog.NewCursor(w.Store, topic, from)
	for {
		recs, more, err := c.Read(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return out
		}
		for i := range recs {
			r := &recs[i]
			m := message{
				offset: int64(first) + int64(len(out)), key: string(e.AppendKey(nil, &r.Record)), value: string(e.AppendValue(nil, &r.Record, r.At)),
				headers: fmt.Sprintf("offset=%d lsn=%s txid=%d ", r.Offset, r.LSN, r.XID),
			}
			if !r.CommitTime.IsZero() {
				m.time = r.CommitTime.UnixMilli()
			}
			if out = append(out, m); r.Op == change.Delete {
				m.offset, m.value, m.null = m.offset+1, "", true
				out = append(out, m)
			}
		}
	}
}

// TestEqualsChangelog: from any message on, in every format, a client reads what the
// changelog holds, while it grows, over restarts, and behind retention, compressed or not.
func TestEqualsChangelog(t *testing.T) {
	for i, format := range debezium.Formats() {
		t.Run(format, func(t *testing.T) {
			compress, packed := i%2 == 0, 0
			w := newWorld(t, kafka.Options{Format: format, Version: "1.2.3", CacheBytes: 100 << 10, Compress: compress})
			for round := range 5 {
				w.write(t, 150)
				if round == 3 {
					w.forget(t)
				}
				c := dial(t, w.addr)
				for _, topic := range w.Topics() {
					want := w.expected(t, topic.Name)
					first, _, err := w.Messages(t.Context(), topic.Name)
					if err != nil || round >= 3 && first == 0 {
						t.Fatalf("the first message that is kept is %d: %v", first, err)
					}
					low := int64(first)
					for range 4 {
						from := low + rand.Int64N(int64(len(want))+1)
						for at := from; ; {
							got, p := c.fetch(topic.Name, at, func(q *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
								q.MaxBytes = int32(rand.IntN(200 << 10))
							})
							if p.ErrorCode != 0 || p.LogStartOffset != low || p.HighWatermark != low+int64(len(want)) {
								t.Fatalf("%s from %d: error %d, messages %d to %d, want %d to %d", topic.Name, at, p.ErrorCode, p.LogStartOffset, p.HighWatermark, low, low+int64(len(want)))
							}
							if len(got) == 0 {
								if at != p.HighWatermark {
									t.Fatalf("%s: nothing at %d of %d", topic.Name, at, p.HighWatermark)
								}
								break
							}
							for _, m := range got {
								if m != want[m.offset-low] || m.offset != at {
									t.Fatalf("%s: message %d: %+v\nwant %+v", topic.Name, at, m, want[at-low])
								}
								at++
							}
						}
					}
					for _, at := range []int64{low - 1, low + int64(len(want)) + 1} {
						if _, p := c.fetch(topic.Name, at, nil); p.ErrorCode != 1 {
							t.Errorf("%s: message %d gives error %d, want OFFSET_OUT_OF_RANGE", topic.Name, at, p.ErrorCode)
						}
					}
				}
				if packed += c.packed; round == 2 {
					w.stop()
					w.start(t)
				}
			}
			if packed > 0 != compress {
				t.Errorf("%d batches came compressed", packed)
			}
		})
	}
}

// TestFetchWaits: a client that waits hears of a change at once, and of nothing
// when its time is over.
func TestFetchWaits(t *testing.T) {
	w := newWorld(t, kafka.Options{Format: debezium.Row})
	w.write(t, 20)
	c := dial(t, w.addr)
	topic := w.Topics()[0]
	wait := func(ms int32) func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {
		return func(q *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { q.MaxWaitMillis, q.MinBytes = ms, 1 }
	}
	if ms, p := c.fetch(topic.Name, int64(topic.Messages), wait(50)); len(ms) != 0 || p.ErrorCode != 0 {
		t.Fatalf("%d messages at the end, error %d", len(ms), p.ErrorCode)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		for w.Topics()[0].Messages == topic.Messages {
			w.write(t, 1)
		}
	}()
	ms, _ := c.fetch(topic.Name, int64(topic.Messages), wait(60_000))
	<-written
	if len(ms) == 0 || ms[0].offset != int64(topic.Messages) {
		t.Fatalf("waited for message %d, got %d: %+v", topic.Messages, len(ms), ms)
	}
}

func listOffset(c *client, topic string, at int64) kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = at, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{p}
	q.Topics = []kmsg.ListOffsetsRequestTopic{t}
	return ask[*kmsg.ListOffsetsResponse](c, q, 7).Topics[0].Partitions[0]
}

// TestListOffsets compares with all messages, by their times, also behind retention.
func TestListOffsets(t *testing.T) {
	w := newWorld(t, kafka.Options{Format: debezium.Row})
	w.write(t, 400)
	w.listOffsets(t)
	w.forget(t)
	w.write(t, 40)
	w.listOffsets(t)
}

func (w *world) listOffsets(t *testing.T) {
	t.Helper()
	c := dial(t, w.addr)
	for _, topic := range w.Topics() {
		all := w.expected(t, topic.Name)
		low, n := all[0].offset, int64(len(all))
		for at, want := range map[int64]int64{-1: low + n, -2: low, -3: low + n - 1} {
			if p := listOffset(c, topic.Name, at); p.ErrorCode != 0 || p.Offset != want {
				t.Errorf("%s at %d: offset %d, error %d, want %d", topic.Name, at, p.Offset, p.ErrorCode, want)
			}
		}
		for range 20 {
			at := all[0].time - 5 + rand.Int64N(all[n-1].time-all[0].time+10)
			want, when := int64(-1), int64(-1)
			for _, m := range all {
				if m.time >= at {
					want, when = m.offset, m.time
					break
				}
			}
			if p := listOffset(c, topic.Name, at); p.Offset != want || p.Timestamp != when || p.ErrorCode != 0 {
				t.Errorf("%s at %d: offset %d at %d, error %d, want %d at %d", topic.Name, at, p.Offset, p.Timestamp, p.ErrorCode, want, when)
			}
		}
	}
	if p := listOffset(c, "carbon.public.other", -1); p.ErrorCode != 3 {
		t.Errorf("an unknown topic: %+v", p)
	}
}

func epochEnd(c *client, topic string, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	c.t.Helper()
	q := kmsg.NewPtrOffsetForLeaderEpochRequest()
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.LeaderEpoch, p.CurrentLeaderEpoch = epoch, -1
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}
	q.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{t}
	return ask[*kmsg.OffsetForLeaderEpochResponse](c, q, 4).Topics[0].Partitions[0]
}

func topicID(c *client) [16]byte {
	return ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 12).Topics[0].TopicID
}

// TestRestored: a restored log has the same topics under a higher epoch, and a
// client that had read further is told where it went on otherwise.
func TestRestored(t *testing.T) {
	w := newWorld(t, kafka.Options{Format: debezium.Row})
	w.write(t, 100)
	topic := w.Topics()[0].Name
	var backup bytes.Buffer
	if err := w.Backup(t.Context(), &backup, "test"); err != nil {
		t.Fatal(err)
	}
	source := w.src.Branch(rand.Uint64())
	end := int64(w.Topics()[0].Messages)
	id := topicID(dial(t, w.addr))
	for int64(w.Topics()[0].Messages) < end+5 {
		w.write(t, 1)
	}
	read := int64(w.Topics()[0].Messages)
	restore := func(dir string) {
		w.stop()
		w.dir = filepath.Join(t.TempDir(), dir)
		if _, _, err := store.Restore(w.dir, bytes.NewReader(backup.Bytes()), store.Options{NoSync: true}); err != nil {
			t.Fatal(err)
		}
		w.start(t)
		w.src = source.Branch(rand.Uint64())
	}
	restore("restored")
	c := dial(t, w.addr)
	if topicID(c) != id {
		t.Error("the restored topic has another id")
	}
	if p := epochEnd(c, topic, 0); p.EndOffset != end || p.LeaderEpoch != 0 || p.ErrorCode != 0 {
		t.Errorf("the first epoch ends at %d (epoch %d, error %d), want %d", p.EndOffset, p.LeaderEpoch, p.ErrorCode, end)
	}
	of := func(epoch int32) func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {
		return func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = epoch }
	}
	if _, p := c.fetch(topic, read, of(0)); p.DivergingEpoch.Epoch != 0 || p.DivergingEpoch.EndOffset != end {
		t.Errorf("who has read up to %d is told %+v, want %d", read, p.DivergingEpoch, end)
	}
	if _, p := c.fetch(topic, end, of(0)); p.ErrorCode != 0 || p.DivergingEpoch.EndOffset > 0 {
		t.Errorf("who has read up to the end is told %+v", p)
	}
	epoch := ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 12).Topics[0].Partitions[0].LeaderEpoch
	for current, want := range map[int32]int16{-1: 0, 0: 74, epoch: 0, epoch + 1: 75} {
		_, p := c.fetch(topic, end, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = current })
		if p.ErrorCode != want {
			t.Errorf("in epoch %d: error %d, want %d", current, p.ErrorCode, want)
		}
	}
	// What was read behind the first restore is told from what is behind a second
	// one of the same backup.
	for int64(w.Topics()[0].Messages) < end+5 {
		w.write(t, 1)
	}
	next := time.NewTicker(time.Millisecond) // epochs count seconds
	defer next.Stop()
	for began := time.Now().Unix(); time.Now().Unix() == began; {
		<-next.C
	}
	restore("again")
	c = dial(t, w.addr)
	if p := epochEnd(c, topic, epoch); p.EndOffset != end || p.LeaderEpoch != 0 || p.ErrorCode != 0 {
		t.Errorf("an epoch of another restore ends at %d (epoch %d, error %d), want %d", p.EndOffset, p.LeaderEpoch, p.ErrorCode, end)
	}
	if now := w.History().Epochs(); len(now) != 2 || now[1] <= epoch {
		t.Errorf("epochs %v behind %d", now, epoch)
	}
	if other := newWorld(t, kafka.Options{}); topicID(dial(t, other.addr)) == id {
		t.Error("a new directory has the topic ids of another")
	}
}

// TestVersions: each kind of request is answered in each version that is offered.
func TestVersions(t *testing.T) {
	w := newWorld(t, kafka.Options{})
	w.write(t, 10)
	c := dial(t, w.addr)
	offered := ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest(), 3)
	if r := ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest(), 0); len(r.ApiKeys) != len(offered.ApiKeys) || len(r.ApiKeys) < 20 {
		t.Fatalf("%d kinds of request", len(r.ApiKeys))
	}
	for _, k := range offered.ApiKeys {
		for v := k.MinVersion; v <= k.MaxVersion; v++ {
			q := kmsg.RequestForKey(k.ApiKey)
			if p, ok := q.(*kmsg.ProduceRequest); ok {
				p.Acks = 1
			}
			if _, err := c.try(q, v); err != nil {
				t.Errorf("%s in version %d: %v", kmsg.NameForKey(k.ApiKey), v, err)
				c = dial(t, w.addr)
			}
		}
	}
	if _, err := dial(t, w.addr).try(kmsg.NewPtrCreateTopicsRequest(), 5); err == nil {
		t.Error("topics can be created")
	}
}

// TestHostile: what is not a client ends its own connection, and nobody else's.
func TestHostile(t *testing.T) {
	w := newWorld(t, kafka.Options{MaxStall: 200 * time.Millisecond, MaxConnections: 8, PeerShare: 1})
	w.write(t, 10)
	huge := binary.BigEndian.AppendUint32(nil, 1<<31-1)
	for name, bytes := range map[string][]byte{
		"a huge length":   huge,
		"no length":       {0, 0, 0, 0},
		"HTTP":            []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"half a request":  {0, 0, 0, 100, 0, 3, 0, 1, 0, 0},
		"a short header":  {0, 0, 0, 8, 0, 3, 0, 9, 0, 0, 0, 1},
		"an unknown kind": {0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
	} {
		c := dial(t, w.addr)
		if _, err := c.conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := c.conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s is answered", name)
		}
	}
	// All places taken: the next is closed at once, and one that ends makes room.
	var held []*client
	for deadline := time.Now().Add(time.Minute); len(held) < 8; { // those above may not be given back yet
		c := dial(t, w.addr)
		if _, err := c.try(kmsg.NewPtrApiVersionsRequest(), 3); err == nil {
			held = append(held, c)
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if _, err := dial(t, w.addr).try(kmsg.NewPtrApiVersionsRequest(), 3); err == nil {
		t.Error("a ninth connection is served")
	}
	_ = held[0].conn.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := dial(t, w.addr).try(kmsg.NewPtrApiVersionsRequest(), 3); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no room after a connection has ended")
		}
	}
}

// TestTokens: without a token a client learns what is spoken here and nothing else.
func TestTokens(t *testing.T) {
	var withdrawn atomic.Bool
	w := newWorld(t, kafka.Options{Allows: func(token, group string) (read, admin, consume bool) {
		if withdrawn.Load() {
			return false, false, false
		}
		return token == "reader" || token == "operator", token == "operator", group != "closed" || token == "operator"
	}})
	w.write(t, 10)
	login := func(token string) (*client, *kmsg.SASLAuthenticateResponse) {
		c := dial(t, w.addr)
		ask[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest(), 3)
		h := kmsg.NewPtrSASLHandshakeRequest()
		h.Mechanism = "PLAIN"
		if r := ask[*kmsg.SASLHandshakeResponse](c, h, 1); r.ErrorCode != 0 {
			t.Fatalf("handshake: error %d", r.ErrorCode)
		}
		a := kmsg.NewPtrSASLAuthenticateRequest()
		a.SASLAuthBytes = []byte("\x00anybody\x00" + token)
		return c, ask[*kmsg.SASLAuthenticateResponse](c, a, 2)
	}
	if _, err := dial(t, w.addr).try(kmsg.NewPtrMetadataRequest(), 9); err == nil {
		t.Error("metadata without a token")
	}
	if _, r := login("wrong"); r.ErrorCode != 58 || r.ErrorMessage == nil {
		t.Errorf("a wrong token: %+v", r)
	}
	for token, want := range map[string]int16{"reader": 30, "operator": 69} {
		c, r := login(token)
		if r.ErrorCode != 0 {
			t.Fatalf("%s: %+v", token, r)
		}
		if m := ask[*kmsg.MetadataResponse](c, kmsg.NewPtrMetadataRequest(), 9); len(m.Topics) != len(w.Topics()) {
			t.Errorf("%s sees %d topics", token, len(m.Topics))
		}
		for group, want := range map[string]int16{"desk": 0, "closed": map[string]int16{"reader": 30}[token]} {
			member := &consumer{client: c, group: group}
			if code := member.join(time.Minute); code != want {
				t.Errorf("%s joins %s: error %d, want %d", token, group, code, want)
			}
			if want == 0 {
				member.leave()
			}
		}
		d := kmsg.NewPtrDeleteGroupsRequest()
		d.Groups = []string{"nobody"}
		if r := ask[*kmsg.DeleteGroupsResponse](c, d, 2); r.Groups[0].ErrorCode != want {
			t.Errorf("%s deletes a group: error %d, want %d", token, r.Groups[0].ErrorCode, want)
		}
	}
	c, _ := login("reader")
	withdrawn.Store(true)
	if _, err := c.try(kmsg.NewPtrMetadataRequest(), 9); err == nil {
		t.Error("a token that was withdrawn still counts")
	}
	h := kmsg.NewPtrSASLHandshakeRequest()
	h.Mechanism = "SCRAM-SHA-256"
	if r := ask[*kmsg.SASLHandshakeResponse](dial(t, w.addr), h, 1); r.ErrorCode != 33 || len(r.SupportedMechanisms) != 1 {
		t.Errorf("another mechanism: %+v", r)
	}
}

// FuzzRequest: no request makes the server fail, whatever is in it.
func FuzzRequest(f *testing.F) {
	s, err := store.Open(f.TempDir(), store.Options{NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	src := storetest.NewSource(1)
	for range 20 {
		if err := s.Apply(f.Context(), []change.Txn{src.Next()}); err != nil {
			f.Fatal(err)
		}
	}
	srv, err := kafka.New(s, kafka.Options{Format: debezium.Row})
	if err != nil {
		f.Fatal(err)
	}
	here, there := net.Pipe()
	f.Cleanup(func() { _, _ = here.Close(), there.Close() })
	for key := range int16(kmsg.MaxKey + 1) {
		if q := kmsg.RequestForKey(key); q != nil {
			for v := range q.MaxVersion() + 1 {
				q.SetVersion(v)
				f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, q, 1)[4:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 8 {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if out, err := srv.Answer(ctx, here, frame); err == nil && len(out) > 0 && int(binary.BigEndian.Uint32(out)) != len(out)-4 {
			t.Fatalf("an answer of %d bytes says %d", len(out)-4, binary.BigEndian.Uint32(out))
		}
	})
}
