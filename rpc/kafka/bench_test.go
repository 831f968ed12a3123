package kafka_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
	"carbond/rpc/kafka"
	"carbond/store"
	"carbond/store/change"
)

// used is the processor time of this process so far.
func used() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEarliest reads a topic of 200,000 inserted projects of about 200 bytes from
// the beginning over loopback by a client that decodes nothing, in each format and
// compressed, beside reading the segments alone. Processor time is that of both sides.
func BenchmarkEarliest(b *testing.B) {
	const n = 200_000
	s, err := store.Open(filepath.Join(b.TempDir(), "data"), store.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := 0; i < n; i += 100 {
		if err := s.Apply(b.Context(), []change.Txn{projects(i, 100)}); err != nil {
			b.Fatal(err)
		}
	}
	report := func(b *testing.B, read func() (bytes int64)) {
		was := used()
		var bytes int64
		for b.Loop() {
			bytes += read()
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
		b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
		b.ReportMetric(float64((used()-was).Nanoseconds())/float64(n*b.N), "cpu-ns/record")
	}
	topic := change.TopicName(change.Verra)
	b.Run("segments", func(b *testing.B) {
		report(b, func() int64 {
			c := changelog.NewCursor(s, topic, s.Oldest())
			for {
				if _, more, err := c.Read(128 << 10); err != nil {
					b.Fatal(err)
				} else if !more {
					return 0
				}
			}
		})
	})
	for _, name := range []string{debezium.Row, debezium.Bare, debezium.Payload, debezium.Connect, debezium.Connect + "+zstd"} {
		b.Run(name, func(b *testing.B) {
			format, _, compress := strings.Cut(name, "+")
			addr := listen(b, s, kafka.Options{Format: format, Compress: compress, Version: "1.0.0"})
			report(b, func() (bytes int64) {
				err := readAll(addr, topic, n, func(batches []byte, _ int64) { bytes += int64(len(batches)) })
				if err != nil {
					b.Fatal(err)
				}
				return bytes
			})
		})
	}
}

// BenchmarkTail is the time from a commit, of one row each and 1,000 a second, to its
// arrival at 20 clients that follow, and how often a commit was encoded for them.
func BenchmarkTail(b *testing.B) {
	const clients, rate, seconds = 20, 1000, 5
	s, err := store.Open(filepath.Join(b.TempDir(), "data"), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	reg := prometheus.NewRegistry()
	addr := listen(b, s, kafka.Options{Version: "1.0.0", Registerer: reg})
	var lags []float64
	for b.Loop() {
		begin := int(s.Topics()[0].Messages)
		var mu sync.Mutex // guards at and lags
		at := make([]time.Time, rate*seconds)
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				next := 0
				err := readAll(addr, change.TopicName(change.Verra), int64(begin+len(at)), func(_ []byte, offset int64) {
					now := time.Now()
					mu.Lock()
					defer mu.Unlock()
					for ; next < int(offset)-begin; next++ {
						if next >= rate { // in the first second they connect
							lags = append(lags, float64(now.Sub(at[next]))/1e6)
						}
					}
				})
				if err != nil {
					b.Error(err)
				}
			})
		}
		tick := time.NewTicker(time.Second / 100)
		for i := range at {
			if i%(rate/100) == 0 {
				<-tick.C
			}
			mu.Lock()
			at[i] = time.Now()
			mu.Unlock()
			if err := s.Apply(b.Context(), []change.Txn{projects(begin+i, 1)}); err != nil {
				b.Fatal(err)
			}
		}
		wg.Wait()
		tick.Stop()
	}
	slices.Sort(lags)
	b.ReportMetric(lags[len(lags)/2], "p50-ms")
	b.ReportMetric(lags[len(lags)*99/100], "p99-ms")
	all, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "carbond_kafka_batches_encoded_total" {
			b.ReportMetric(f.Metric[0].GetCounter().GetValue()/float64(rate*seconds*b.N), "encodings/commit")
		}
	}
}

// listen serves a store until the benchmark ends, and returns the address.
func listen(b *testing.B, s *store.Store, opt kafka.Options) string {
	srv, err := kafka.New(s, opt)
	if err != nil {
		b.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, lis) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return lis.Addr().String()
}

// projects is a transaction that inserts n projects of about 200 bytes.
func projects(from, n int) change.Txn {
	rel := change.Standard(change.Verra)
	t := change.Txn{First: true, Final: true, XID: uint32(from + 1), CommitLSN: change.LSN(1000 + from), EndLSN: change.LSN(1001 + from), CommitTime: time.Unix(1_800_000_000, int64(from)*1000)}
	values := map[string]func(i int) string{
		"id": strconv.Itoa, "project_id": func(i int) string { return fmt.Sprintf("VCS-%07d", i) },
		"project_name":    func(int) string { return "Rimba Lestari Forest Conservation No. 0" },
		"project_link":    func(i int) string { return "https://registry.example.org/app/projectDetail/VCS/" + strconv.Itoa(i) },
		"project_summary": func(int) string { return strings.Repeat("s", 40) }, "registry_status": func(int) string { return "ACTIVE" },
		"country": func(i int) string { return "Country " + strconv.Itoa(i%80) }, "vintage": func(int) string { return "2021" },
		"supply": func(int) string { return "12345.5" }, "updated_at": func(int) string { return "2026-11-23 12:00:00.123456+00" },
	}
	var rb change.RowBuilder
	for i := from; i < from+n; i++ {
		rb.Reset(len(rel.Columns))
		for _, c := range rel.Columns {
			if f := values[c.Name]; f != nil {
				rb.Text(f(i))
			} else {
				rb.Null()
			}
		}
		t.Changes = append(t.Changes, change.Change{Op: change.Create, Relation: rel, LSN: change.LSN(900 + i), After: rb.Row()})
	}
	return t
}

// readAll reads a topic from the beginning up to a message, and tells of the batches
// of each answer and the message behind them.
func readAll(addr, topic string, end int64, got func(batches []byte, next int64)) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	q := fetchFrame([]change.Topic{{Name: topic}}, 50<<20, 1<<20, 1)
	q.SetVersion(11)
	var answer []byte
	for at := &q.Topics[0].Partitions[0].FetchOffset; *at < end; {
		if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 1)); err != nil {
			return err
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		answer = slices.Grow(answer[:0], int(binary.BigEndian.Uint32(head)))[:binary.BigEndian.Uint32(head)]
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		var r kmsg.FetchResponse
		r.SetVersion(11)
		if err := r.ReadFrom(answer[4:]); err != nil {
			return err
		}
		batches := r.Topics[0].Partitions[0].RecordBatches
		for b := batches; len(b) > 0; b = b[12+binary.BigEndian.Uint32(b[8:]):] {
			*at += int64(binary.BigEndian.Uint32(b[57:]))
		}
		got(batches, *at)
	}
	return nil
}
