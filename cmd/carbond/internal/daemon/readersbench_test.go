package daemon

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
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
)

// BenchmarkReaders runs watchers and consumers of the changelog beside a source
// of 1,000 changes a second, each a transaction. It reports how late the changes
// come to all of them, what that costs this process (its clients included), and
// what the writer sees of it. Every watcher gets every change; with a filter,
// one in a hundred. One in ten consumers reads nothing at all.
//
//	go test ./cmd/carbond/internal/daemon -run '^$' -bench Readers -benchtime 1x
func BenchmarkReaders(b *testing.B) {
	for _, r := range []readers{
		{},
		{watchers: 1},
		{watchers: 100},
		{watchers: 1000},
		{watchers: 1000, filtered: true},
		{consumers: 1},
		{consumers: 20},
		{watchers: 1000, consumers: 20},
	} {
		b.Run(r.String(), func(b *testing.B) { r.bench(b) })
	}
}

const (
	benchTickers = 100
	benchRate    = 1000 // changes a second
	benchGroup   = 10   // changes that the source hands over at a time
	benchTime    = 8 * time.Second
	benchSlow    = 10 // one in so many consumers reads nothing
)

// applied is when the change with an offset was asked for: the offset is its
// index.
type applied []atomic.Int64

// readers is who reads beside the source.
type readers struct {
	watchers, consumers int
	filtered            bool
}

func (r readers) String() string {
	s := fmt.Sprintf("watchers=%d,consumers=%d", r.watchers, r.consumers)
	if r.filtered {
		s += ",filtered"
	}
	return s
}

func (r readers) bench(b *testing.B) {
	s, err := store.Open(b.TempDir(), store.Options{First: 1}) // offsets are places in at
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	_, first, lis, _ := serveStore(b, s, rpc.Options{Changelog: s})
	at := make(applied, benchTickers+b.N*benchRate*int(benchTime/time.Second)+1)
	src := &quoteSource{at: at}
	src.apply(b, s, benchTickers)

	runtime.GC()
	before := inUse()
	ctx, cancel := context.WithCancel(context.Background())
	watching, consuming := make([]lagCounter, r.watchers), make([]lagCounter, r.consumers)
	stop := r.start(ctx, b, first, lis, at, watching, consuming)
	for range b.N {
		var peak uint64
		cpu, began := cpuTime(), time.Now()
		took := src.pace(b, s, func() { peak = max(peak, inUse()) })
		wall := time.Since(began)
		slices.Sort(took)
		b.ReportMetric(float64(cpuTime()-cpu)/float64(wall)*100, "cpu-%")
		b.ReportMetric(float64(len(took)*benchGroup)/wall.Seconds(), "changes/s")
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "apply-p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "apply-p99-ms")
		b.ReportMetric((float64(peak)-float64(before))/(1<<20), "MiB")
	}
	end := int64(s.Position().Offset) // the last changes are on their way
	r.report(b, watching, "watch", func(int) bool { return !r.filtered }, end)
	r.report(b, consuming, "consume", func(i int) bool { return i%benchSlow != benchSlow-1 }, end)
	b.ReportMetric(0, "ns/op")

	// As fast as the store takes it, the readers still there: they get it in
	// larger batches, or fall off the ring.
	began := time.Now()
	for range 500 {
		src.apply(b, s, benchTickers)
	}
	b.ReportMetric(500*benchTickers/time.Since(began).Seconds(), "flat-out-changes/s")
	cancel()
	stop()
}

// start starts the readers, waits until each has its first message, and returns
// what joins them.
func (r readers) start(ctx context.Context, b *testing.B, first *grpc.ClientConn, lis *bufconn.Listener, at applied, watching, consuming []lagCounter) (join func()) {
	var conns []*grpc.ClientConn
	dial := func() *grpc.ClientConn {
		c := dialMemory(b, lis)
		conns = append(conns, c)
		return c
	}
	shared := []*grpc.ClientConn{first}
	for len(shared)*200 < r.watchers {
		shared = append(shared, dial())
	}
	var wg, ready sync.WaitGroup
	ready.Add(r.watchers + r.consumers)
	run := func(read func() error) {
		wg.Go(func() {
			if err := read(); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	for i := range watching {
		filter := ""
		if r.filtered {
			filter = benchTicker(i % benchTickers)
		}
		run(func() error { return watching[i].watch(ctx, shared[i%len(shared)], filter, at, ready.Done) })
	}
	for i := range consuming {
		conn, slow := first, i%benchSlow == benchSlow-1
		if slow { // on a connection of its own, whose window it fills
			conn = dial()
		}
		run(func() error { return consuming[i].consume(ctx, conn, slow, at, ready.Done) })
	}
	ready.Wait()
	return func() {
		wg.Wait()
		for _, c := range conns {
			c.Close()
		}
	}
}

// report waits for the readers that see every change and reports their lags.
func (r readers) report(b *testing.B, lags []lagCounter, who string, all func(int) bool, end int64) {
	if len(lags) == 0 {
		return
	}
	var sum lagCounter
	for i := range lags {
		for all(i) && lags[i].last.Load() < end {
			runtime.Gosched()
		}
		lags[i].mu.Lock()
		for j := range sum.buckets {
			sum.buckets[j] += lags[i].buckets[j]
		}
		lags[i].mu.Unlock()
	}
	if sum.quantile(1) == 0 {
		b.Errorf("no change was timed on its way to a %ser", who)
	}
	b.ReportMetric(sum.quantile(0.5), who+"-lag-p50-ms")
	b.ReportMetric(sum.quantile(0.99), who+"-lag-p99-ms")
}

// inUse returns the bytes of heap and stacks in use.
func inUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
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

// lagCounter is a reader that counts how late changes come, in steps of 1/16.
type lagCounter struct {
	mu      sync.Mutex // guards buckets
	buckets [64 * 16]int64
	last    atomic.Int64 // offset
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
	if sum == 0 {
		return 0
	}
	for i, n := range l.buckets {
		if seen += n; float64(seen) >= q*float64(sum) {
			return float64(uint64(1)<<(i/16)) * (1 + float64(i%16+1)/16) / 1000
		}
	}
	return 0
}

// watch reads as a client that decodes no more than it needs: the heads.
func (l *lagCounter) watch(ctx context.Context, c *grpc.ClientConn, filter string, at applied, ready func()) error {
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

// consume reads the changelog. A slow consumer reads one message only.
func (l *lagCounter) consume(ctx context.Context, c *grpc.ClientConn, slow bool, at applied, ready func()) error {
	ss, err := pb.NewChangelogServiceClient(c).Consume(ctx, &pb.ConsumeRequest{Follow: true, Start: &pb.ConsumeRequest_Latest{Latest: true}})
	if err != nil {
		return err
	}
	if _, err := ss.Recv(); err != nil {
		return err
	}
	ready()
	if slow {
		<-ctx.Done()
		return nil
	}
	for {
		m, err := ss.Recv()
		if err != nil {
			return err
		}
		now := time.Now().UnixNano()
		l.mu.Lock()
		for _, r := range m.Records {
			if r.Offset < uint64(len(at)) {
				l.add(time.Duration(now - at[r.Offset].Load()))
			}
		}
		l.mu.Unlock()
		l.last.Store(int64(m.NextOffset) - 1)
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
