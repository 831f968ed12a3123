// Package crashtest runs a store in a child process that kills itself at a named
// point, and looks at what it has left. It is for tests of what feeds a store.
package crashtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

const segmentBytes = 6 << 10

// Child opens a store with small segments whose process dies at the nth point
// that it passes. Checkpoints are written all the time.
func Child(dir string, nth uint64) (s *store.Store, stop func() error, err error) {
	var passed atomic.Uint64 // the writer and the checkpointer pass points
	crash := func(string) {
		if passed.Add(1) == nth {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	s, err = store.Open(dir, store.Options{SegmentBytes: segmentBytes, CheckpointInterval: time.Millisecond, Crash: crash, Compress: true})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error {
		cancel()
		return errors.Join(<-done, s.Close())
	}, nil
}

// Inspect checks the directory of a child that was fed the first n transactions
// of a source: it holds everything up to durable, each change once and in order,
// the views equal the model, and fsck finds nothing.
func Inspect(dir string, src *storetest.Source, n int, durable change.LSN) error {
	s, err := store.Open(dir, store.Options{SegmentBytes: segmentBytes, NoSync: true})
	if err != nil {
		return err
	}
	defer s.Close()
	pos := s.Position()
	if pos.LSN < durable {
		return fmt.Errorf("position %s is behind %s, which was confirmed", pos.LSN, durable)
	}
	for range n {
		before := src.Model.Clone()
		if txn := src.Next(); txn.EndLSN > pos.LSN {
			src.Model = before
			break
		}
	}
	if d := src.Model.Diff(s.Snapshot()); d != "" {
		return fmt.Errorf("at %s: %s", pos.LSN, d)
	}
	got, err := storetest.Lines(s.NewReader(s.Oldest()))
	if err != nil {
		return err
	}
	if !slices.Equal(got, src.Model.Log) {
		return fmt.Errorf("at %s: the log has %d records that differ from the model's %d", pos.LSN, len(got), len(src.Model.Log))
	}
	if err := s.Close(); err != nil {
		return err
	}
	r, err := store.Check(dir)
	if err != nil {
		return err
	}
	return errors.Join(r.Problems...)
}
