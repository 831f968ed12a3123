package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
)

// BenchmarkConsume runs consumers of the changelog beside a source of 1,000
// changes a second, each a transaction, and reports how late the changes come,
// what that costs this process (its clients included), and what the writer sees
// of it. One in ten consumers reads nothing at all.
//
//	go test ./cmd/carbond -run '^$' -bench Consume -benchtime 1x
func BenchmarkConsume(b *testing.B) {
	for _, n := range []int{0, 1, 20} {
		b.Run(fmt.Sprintf("consumers=%d", n), func(b *testing.B) { benchConsume(b, n) })
	}
}

func benchConsume(b *testing.B, consumers int) {
	s, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	_, first, lis, _ := serveStore(b, s, rpc.Options{Changelog: changelog{s}})
	at := make(applied, benchTickers+b.N*benchRate*int(benchTime/time.Second)+1)
	src := &quoteSource{at: at}
	src.apply(b, s, benchTickers)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)

	ctx, cancel := context.WithCancel(context.Background())
	lags := make([]lagCounter, consumers)
	var wg, ready sync.WaitGroup
	ready.Add(consumers)
	for i := range lags {
		conn, slow := first, i%10 == 9
		if slow { // on a connection of its own, whose window it fills
			conn = dialMemory(b, lis)
			defer conn.Close()
		}
		wg.Go(func() {
			if err := consumeLag(ctx, conn, &lags[i], slow, at, ready.Done); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	ready.Wait()
	for range b.N {
		var peak uint64
		cpu, began := cpuTime(), time.Now()
		took := src.pace(b, s, func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse+m.StackInuse)
		})
		b.ReportMetric(float64(cpuTime()-cpu)/float64(time.Since(began))*100, "cpu-%")
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "apply-p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "apply-p99-ms")
		b.ReportMetric((float64(peak)-float64(before.HeapInuse+before.StackInuse))/(1<<20), "MiB")
	}
	var all lagCounter
	for i := range lags {
		for i%10 != 9 && lags[i].last.Load() < int64(s.Position().Offset) {
			runtime.Gosched()
		}
		lags[i].mu.Lock()
		for j := range all.buckets {
			all.buckets[j] += lags[i].buckets[j]
		}
		lags[i].mu.Unlock()
	}
	if consumers > 0 {
		b.ReportMetric(all.quantile(0.5), "lag-p50-ms")
		b.ReportMetric(all.quantile(0.99), "lag-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
	cancel()
	wg.Wait()
}

// consumeLag counts how late changes come. A slow one reads one message only.
func consumeLag(ctx context.Context, c *grpc.ClientConn, l *lagCounter, slow bool, at applied, ready func()) error {
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
