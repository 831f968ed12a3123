package store_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// ended reports whether err is one of the ways in which a reader's work ends
// while the store goes on or closes.
func ended(err error) bool {
	var gone *change.CompactedError
	return errors.Is(err, change.ErrClosed) || errors.Is(err, context.Canceled) || errors.As(err, &gone)
}

// TestTogether runs everything that a daemon runs, at once, and closes the
// store in the middle of it. Run it with -race.
func TestTogether(t *testing.T) {
	sd := seed(t)
	reg := prometheus.NewPedanticRegistry()
	dir := t.TempDir()
	s := open(t, dir, store.Options{
		SegmentBytes: 8 << 10, NoSync: true, Compress: true, CheckpointInterval: time.Millisecond,
		Registerer: reg, Retention: store.Retention{Bytes: 400 << 10, TablesBytes: 16 << 10},
	})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all sync.WaitGroup
	loop := func(name string, f func(*rand.Rand) error) {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(sd, uint64(len(name))))
			for ctx.Err() == nil {
				if err := f(rng); err != nil {
					if !ended(err) {
						t.Errorf("%s: %v", name, err)
						stop()
					}
					if errors.Is(err, change.ErrClosed) {
						return
					}
				}
			}
		})
	}
	all.Go(func() { _ = s.Run(ctx) })
	loop("metrics", func(*rand.Rand) error { _, err := reg.Gather(); return err })
	loop("views", func(*rand.Rand) error {
		snap := s.Snapshot()
		for range snap.Projects("", "") {
		}
		for range snap.News("") {
		}
		for range snap.Quotes("", "") {
		}
		s.Topics()
		return nil
	})
	loop("read", func(rng *rand.Rand) error {
		r := s.NewReader(s.Oldest())
		for range rng.IntN(20) {
			if _, err := r.Read(1 << 12); err != nil {
				return err
			}
		}
		return nil
	})
	loop("follow", func(rng *rand.Rand) error {
		f, _, err := s.Follow(ctx, s.Position().Offset)
		for n := rng.IntN(20); err == nil && n > 0; n-- {
			_, err = f.Next(ctx)
		}
		return err
	})
	loop("as of", func(*rand.Rand) error {
		snap, err := s.AsOf(ctx, s.Oldest()+change.Offset(1))
		if err == nil {
			for range snap.Projects("", "") {
			}
		} else if errors.Is(err, change.ErrFuture) {
			err = nil
		}
		return err
	})
	loop("backup", func(*rand.Rand) error { return s.Backup(ctx, io.Discard, "test") })
	loop("groups", func(*rand.Rand) error {
		m, err := s.Join("g", "m")
		if err != nil {
			return nil // closed, or still active
		}
		defer m.Leave()
		if err := s.CommitOffset(ctx, change.GroupCommit{Group: "g", Generation: m.Generation, Member: m.ID, Topic: change.TopicName(change.News), Offset: s.Position().Offset}); err != nil && ended(err) {
			return err
		}
		s.Groups()
		return nil
	})
	rng := rand.New(rand.NewPCG(sd, 0))
	src := storetest.NewSource(sd)
	src.Plain = true
	for range 300 {
		txn := src.Next()
		parts := storetest.Split(txn, 1+rng.IntN(3))
		if len(parts) > 1 && rng.IntN(3) == 0 { // given up, and begun again
			mustApply(t, s, parts[:len(parts)-1]...)
		}
		for _, p := range parts {
			mustApply(t, s, p)
		}
		if d := src.Model.Diff(s.Snapshot()); d != "" {
			t.Fatal(d)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	all.Wait()
	checkWhole(t, dir)
}

// A backup whose receiver has stopped reading keeps neither the writer, nor
// checkpoints, nor metrics, nor groups waiting.
func TestSlowBackup(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := open(t, t.TempDir(), store.Options{NoSync: true, Registerer: reg, SegmentBytes: 64 << 10})
	defer s.Close()
	fill(t, s, 20_000)
	if err := s.Maintain(context.Background()); err != nil {
		t.Fatal(err)
	}
	src := storetest.NewSource(4)
	for block := range 6 {
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- s.Backup(context.Background(), w, "test") }()
		if _, err := io.CopyN(io.Discard, r, 1+int64(block)*500_000); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			txn := src.Next()
			txn.CommitLSN += 1 << 30
			txn.EndLSN += 1 << 30
			if parts := storetest.Split(txn, 1); len(parts) > 1 {
				mustApply(t, s, parts[0])
			}
			mustApply(t, s, txn)
		}
		if err := s.Maintain(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := reg.Gather(); err != nil {
			t.Fatal(err)
		}
		m, err := s.Join("g", "m")
		if err != nil {
			t.Fatal(err)
		}
		m.Leave()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		if err := errors.Join(<-done, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
