package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
)

// BenchmarkWatch runs watchers beside a source of 1,000 changes a second, each
// a transaction, and reports how late the changes come to all of them, what that
// costs this process (its clients included), and what the writer sees of it.
// Every watcher gets every change; with a filter, one in a hundred.
//
//	go test ./cmd/carbond -run '^$' -bench Watch -benchtime 1x
func BenchmarkWatch(b *testing.B) {
	for _, watchers := range []int{0, 1, 100, 1000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) { benchWatch(b, watchers, false) })
	}
	b.Run("watchers=1000/filtered", func(b *testing.B) { benchWatch(b, 1000, true) })
}

const (
	benchTickers = 100
	benchRate    = 1000 // changes a second
	benchGroup   = 10   // changes that the source hands over at a time
	benchTime    = 8 * time.Second
)

// applied is when the change with an offset was asked for: the offset is its
// index.
type applied []atomic.Int64

func benchWatch(b *testing.B, watchers int, filtered bool) {
	s, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	_, first, lis, _ := serveStore(b, s, rpc.Options{})
	at := make(applied, benchTickers+b.N*benchRate*int(benchTime/time.Second)+1)
	src := &quoteSource{at: at}
	src.apply(b, s, benchTickers)

	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithCancel(context.Background())
	conns := []*grpc.ClientConn{first}
	for len(conns)*200 < watchers {
		c := dialMemory(b, lis)
		defer c.Close()
		conns = append(conns, c)
	}
	lags := make([]lagCounter, watchers)
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	ready.Add(watchers)
	var cut atomic.Int64
	for i := range watchers {
		filter := ""
		if filtered {
			filter = benchTicker(i % benchTickers)
		}
		wg.Go(func() {
			if err := lags[i].run(ctx, conns[i%len(conns)], filter, at, ready.Done); err != nil && ctx.Err() == nil {
				cut.Add(1)
				b.Error(err)
			}
		})
	}
	ready.Wait()

	for range b.N {
		var peak runtime.MemStats
		cpu, began := cpuTime(), time.Now()
		took := src.pace(b, s, func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if m.HeapInuse+m.StackInuse > peak.HeapInuse+peak.StackInuse {
				peak = m
			}
		})
		wall := time.Since(began)
		b.ReportMetric(float64(cpuTime()-cpu)/float64(wall)*100, "cpu-%")
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "apply-p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "apply-p99-ms")
		b.ReportMetric(float64(peak.HeapInuse+peak.StackInuse-before.HeapInuse-before.StackInuse)/(1<<20), "MiB")
	}
	// The last changes are on their way.
	end := int64(s.Position().Offset)
	for i := range lags {
		for !filtered && lags[i].last.Load() < end {
			runtime.Gosched()
		}
	}
	var all lagCounter
	var messages int64
	for i := range lags {
		lags[i].mu.Lock()
		for j := range all.buckets {
			all.buckets[j] += lags[i].buckets[j]
		}
		messages += lags[i].messages
		lags[i].mu.Unlock()
	}
	if watchers > 0 {
		b.ReportMetric(all.quantile(0.5), "lag-p50-ms")
		b.ReportMetric(all.quantile(0.99), "lag-p99-ms")
		b.ReportMetric(float64(messages)/benchTime.Seconds(), "messages/s")
	}
	b.ReportMetric(0, "ns/op")

	// As fast as the store takes it, the watchers still there: they get it in
	// larger batches, or fall off the ring.
	began := time.Now()
	for range 500 {
		src.apply(b, s, benchTickers)
	}
	b.ReportMetric(500*benchTickers/time.Since(began).Seconds(), "flat-out-changes/s")
	cancel()
	wg.Wait()
}

func benchTicker(i int) string { return "T" + strconv.Itoa(100+i) }

// quoteSource writes quotes, one a transaction.
type quoteSource struct {
	at   applied
	lsn  change.LSN
	n    int
	tick int64
}

func (q *quoteSource) apply(b *testing.B, s *store.Store, n int) time.Duration {
	txns := make([]change.Txn, 0, n)
	now := time.Now()
	for range n {
		q.n++
		q.lsn += 10
		if q.n%benchTickers == 0 {
			q.tick++
		}
		row := change.NewRow(change.T(benchTicker(q.n%benchTickers)), change.T(strconv.Itoa(q.n)), change.T("1000"),
			change.T("3000000"), change.T("0.5"), change.T(strconv.FormatInt(1_700_000_000+q.tick, 10)))
		txns = append(txns, change.Txn{
			XID: uint32(q.n), CommitLSN: q.lsn, EndLSN: q.lsn + 5, CommitTime: now, First: true, Final: true,
			Changes: []change.Change{{Op: change.Create, Relation: change.Standard(change.Finance), After: row}},
		})
		if q.n < len(q.at) {
			q.at[q.n].Store(now.UnixNano())
		}
	}
	if err := s.Apply(context.Background(), txns); err != nil {
		b.Fatal(err)
	}
	return time.Since(now)
}

func (q *quoteSource) pace(b *testing.B, s *store.Store, each func()) (took []time.Duration) {
	t := time.NewTicker(time.Second * benchGroup / benchRate)
	defer t.Stop()
	for i := range int(benchTime/time.Second) * benchRate / benchGroup {
		<-t.C
		took = append(took, q.apply(b, s, benchGroup))
		if i%50 == 0 {
			each()
		}
	}
	return took
}

// lagCounter is a watcher that counts how late changes come, in steps of 1/16.
type lagCounter struct {
	mu       sync.Mutex // guards what follows, but last
	buckets  [64 * 16]int64
	messages int64
	last     atomic.Int64
}

func (l *lagCounter) add(d time.Duration) {
	us := max(uint64(d.Microseconds()), 1)
	exp := 63 - leadingZeros(us)
	frac := (us << 4 >> exp) & 15
	l.buckets[exp*16+int(frac)]++
}

func leadingZeros(v uint64) (n int) {
	for ; v < 1<<63; v <<= 1 {
		n++
	}
	return n
}

func (l *lagCounter) quantile(q float64) (ms float64) {
	var sum, seen int64
	for _, n := range l.buckets {
		sum += n
	}
	for i, n := range l.buckets {
		if seen += n; float64(seen) >= q*float64(sum) {
			return float64(uint64(1)<<(i/16)) * (1 + float64(i%16+1)/16) / 1000
		}
	}
	return 0
}

// run reads as a client that decodes no more than it needs: the heads.
func (l *lagCounter) run(ctx context.Context, c *grpc.ClientConn, filter string, at applied, ready func()) error {
	req := &pb.WatchFinanceDataRequest{Ticker: filter}
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/carbon.CarbonService/WatchFinanceData", grpc.ForceCodecV2(headCodec{}))
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	var h head
	if err := s.RecvMsg(&h); err != nil {
		return err
	}
	ready()
	prev := h.offset
	for {
		if err := s.RecvMsg(&h); err != nil {
			return err
		}
		now := time.Now().UnixNano()
		l.mu.Lock()
		l.messages++
		for o := prev + 1; o <= h.offset && o < uint64(len(at)); o++ {
			if filter == "" || benchTicker(int(o)%benchTickers) == filter {
				l.add(time.Duration(now - at[o].Load()))
			}
		}
		l.mu.Unlock()
		prev = h.offset
		l.last.Store(int64(h.offset))
	}
}

// head is the offset of a message.
type head struct{ offset uint64 }

// headCodec decodes heads alone.
type headCodec struct{}

func (headCodec) Marshal(v any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (headCodec) Name() string { return "proto" }

func (headCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r := data.Reader()
	defer r.Close()
	var b [64]byte
	n, _ := r.Read(b[:])
	p := b[2:n] // tag and length of the head
	for len(p) > 0 {
		num, typ, k := protowire.ConsumeTag(p)
		if k < 0 {
			break
		}
		if num == 2 && typ == protowire.VarintType {
			v.(*head).offset, _ = protowire.ConsumeVarint(p[k:])
			return nil
		}
		p = p[k+max(0, protowire.ConsumeFieldValue(num, typ, p[k:])):]
	}
	return fmt.Errorf("no offset in %x", b[:n])
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
