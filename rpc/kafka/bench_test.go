package kafka_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
// the beginning over loopback by a client that decodes nothing, in each format, beside
// reading the segments alone. Processor time is that of both sides.
func BenchmarkEarliest(b *testing.B) {
	const n = 200_000
	dir := filepath.Join(b.TempDir(), "data")
	s, err := store.Open(dir, store.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	rel := change.Standard(change.Verra)
	var rb change.RowBuilder
	for i := 0; i < n; {
		t := change.Txn{First: true, Final: true, XID: uint32(i + 1), CommitLSN: change.LSN(1000 + i), EndLSN: change.LSN(1001 + i), CommitTime: time.Unix(1_800_000_000, int64(i)*1000)}
		for range 100 {
			rb.Reset(10)
			for _, v := range []string{
				strconv.Itoa(i), fmt.Sprintf("VCS-%07d", i), "Rimba Lestari Forest Conservation No. 0", "https://registry.example.org/app/projectDetail/VCS/" + strconv.Itoa(i),
				strings.Repeat("s", 40), "ACTIVE", "Country " + strconv.Itoa(i%80), "2021", "12345.5", "2026-11-23 12:00:00.123456+00",
			} {
				rb.Text(v)
			}
			t.Changes = append(t.Changes, change.Change{Op: change.Create, Relation: rel, LSN: change.LSN(900 + i), After: rb.Row()})
			i++
		}
		if err := s.Apply(b.Context(), []change.Txn{t}); err != nil {
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
	for _, format := range []string{debezium.Row, debezium.Bare, debezium.Payload, debezium.Connect} {
		b.Run(format, func(b *testing.B) {
			srv, err := kafka.New(s, kafka.Options{Format: format, Version: "1.0.0"})
			if err != nil {
				b.Fatal(err)
			}
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- srv.Serve(ctx, lis) }()
			report(b, func() int64 { return readAll(b, lis.Addr().String(), topic, n) })
			stop()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// readAll reads a topic from the beginning and returns its bytes.
func readAll(b *testing.B, addr, topic string, n int64) (bytes int64) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	q := fetchFrame([]change.Topic{{Name: topic}}, 50<<20, 1<<20, 1)
	q.SetVersion(11)
	var answer []byte
	for at := &q.Topics[0].Partitions[0].FetchOffset; *at < n; {
		if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 1)); err != nil {
			b.Fatal(err)
		}
		head := make([]byte, 4)
		if _, err := io.ReadFull(c, head); err != nil {
			b.Fatal(err)
		}
		size := int(binary.BigEndian.Uint32(head))
		if cap(answer) < size {
			answer = make([]byte, size)
		}
		answer = answer[:size]
		if _, err := io.ReadFull(c, answer); err != nil {
			b.Fatal(err)
		}
		var r kmsg.FetchResponse
		r.SetVersion(11)
		if err := r.ReadFrom(answer[4:]); err != nil {
			b.Fatal(err)
		}
		batches := r.Topics[0].Partitions[0].RecordBatches
		bytes += int64(len(batches))
		for len(batches) > 0 {
			*at += int64(binary.BigEndian.Uint32(batches[57:]))
			batches = batches[12+binary.BigEndian.Uint32(batches[8:]):]
		}
	}
	return bytes
}
