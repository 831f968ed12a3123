package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store/change"
	"carbond/store/durable"
	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
	"carbond/store/internal/group"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Options tune a Store. The zero value has production defaults.
type Options struct {
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil keeps no metrics

	// SegmentBytes is the size at which a changelog segment is sealed, 64 MiB
	// by default.
	SegmentBytes int64
	// Compress rewrites sealed segments with zstd, one at a time.
	Compress bool
	// CheckpointInterval is the least time between checkpoints, 1 s by default.
	CheckpointInterval time.Duration
	// Retention limits the changelog. The zero value keeps everything.
	Retention Retention
	// First is the offset of the first change of a new directory. By default it
	// comes from the clock, and lies above all that could have been before.
	First change.Offset

	// Progress is called with what a long start is doing and how far it is,
	// from 0 to 1. It may be nil.
	Progress func(what string, done float64)

	// NoSync skips fsync: for tests of everything but durability.
	NoSync bool
	// Groups keeps the consumer groups of a fleet, in place of the directory; nil for none.
	Groups change.SharedGroups
	// Crash is called at named points of every write, for crash tests.
	Crash func(point string)
	// Fault is asked at named points for the error that the disk gives there,
	// for tests of failing disks.
	Fault func(point string) error
}

// Retention limits the changelog by whole sealed segments. A segment goes when
// Age or Bytes says so and the checkpoint has passed it. Zero is no limit.
type Retention struct {
	Age   time.Duration
	Bytes int64
	// TablesBytes is a bound for the records of tables without a view: those in
	// the oldest segments go, and leave the others where they are. Bytes is for
	// the others alone then.
	TablesBytes int64
	// Hold names consumer groups whose unread records are kept beyond both
	// limits, until the log has HoldBytes (0 is no cap).
	Hold      []string
	HoldBytes int64
}

// Store is an open data directory.
type Store struct {
	dir  string
	opt  Options
	log  *slog.Logger
	met  *metrics
	lock *os.File

	changelog *changelog.Log
	history   change.History // of the changelog, for as long as it is open
	groups    *group.File
	sums      knownSums

	published atomic.Pointer[Snapshot]
	wake      wake
	reach     [2]atomic.Pointer[reach] // of everything, and of tables without a view; nil while there is no record
	counted   sync.Map                 // messages between two places of the log, see messages.go

	writer        sync.Mutex // held by the one who writes; guards what follows
	work          *view.State
	tail          commitState            // of the last commit
	plain         *plainTopics           // of the last commit
	pending       map[string]*plainTopic // what is staged of them
	enc           record.Builder
	dict          dictionary
	open          *openTxn     // a transaction whose final part has not come
	skip          bool         // the parts of a transaction that is already durable are dropped
	landing       <-chan error // of a spill on its way to disk, nil for none
	needsRollback bool         // rollback did not end; it is tried again before anything is staged
	tries         int          // of mend, since it last worked
	closed        bool

	progressed atomic.Uint64 // see Progress

	ckpt    checkpointer
	retain  atomic.Pointer[Retention]
	backups atomic.Int32 // running copies: retention waits for them

	trimming sync.Mutex // held by a round of retention

	filtered atomic.Uint64 // sealed segments up to this offset have been looked at for a key filter
}

// Open opens the data directory, or starts one: it takes the lock, cuts off
// what a crash left unfinished, loads the checkpoint and replays the log behind
// it. Errors: ErrLocked, ErrRestoring, *CorruptionError, ErrCheckpoint, ErrTooNew.
func Open(dir string, opt Options) (*Store, error) {
	if opt.CheckpointInterval <= 0 {
		opt.CheckpointInterval = time.Second
	}
	if opt.First == 0 {
		opt.First = firstOffset(time.Now(), 0)
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := unfinished(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &Store{dir: dir, opt: opt, log: opt.Logger, lock: lock, pending: map[string]*plainTopic{}}
	s.retain.Store(&opt.Retention)
	s.wake.init()
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	if err := s.syncNames(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.met = newMetrics(s, opt.Registerer)
	return s, nil
}

func (s *Store) logOptions() changelog.Options {
	return changelog.Options{First: s.opt.First, SegmentBytes: s.opt.SegmentBytes, NoSync: s.opt.NoSync, Crash: s.opt.Crash, Fault: s.opt.Fault, KeepRelation: visibleRelation}
}

func logDir(dir string) string         { return filepath.Join(dir, "log") }
func checkpointPath(dir string) string { return filepath.Join(dir, "checkpoint.db") }
func groupsPath(dir string) string     { return filepath.Join(dir, "groups.db") }

// syncNames makes the names of all files durable, also of those that an earlier
// process has made and not lived to sync: a file whose name is lost is lost with
// all that was synced into it.
func (s *Store) syncNames() error {
	if s.opt.NoSync {
		return nil
	}
	err := errors.Join(durable.SyncDir(logDir(s.dir)), durable.SyncDir(s.dir))
	if err == nil {
		// The folder above may be closed to us; then it is not ours to sync.
		if err = durable.SyncDir(filepath.Dir(s.dir)); errors.Is(err, os.ErrPermission) {
			err = nil
		}
	}
	if err == nil && s.opt.Fault != nil {
		err = s.opt.Fault("store.named")
	}
	if err != nil {
		return fmt.Errorf("sync data directory %s: %w", s.dir, err)
	}
	return nil
}

// Run writes checkpoints and applies retention until ctx ends. After a failed
// commit it also tries to return to the last durable one, and returns an error
// when that cannot be done.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(s.opt.CheckpointInterval)
	defer t.Stop()
	next := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			if err := s.retryRollback(); err != nil {
				return err
			}
			if now.Before(next) {
				continue
			}
			began := time.Now()
			s.maintain(ctx)
			// Checkpoints take at most about a tenth of one core, so that a
			// catch-up is not slowed by its own safety net.
			next = now.Add(9 * time.Since(began))
		}
	}
}

// Close writes a last checkpoint and closes the files. Readers get ErrClosed.
func (s *Store) Close() error {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	err := errors.Join(s.landed(), s.checkpoint(context.Background()))
	s.wake.close()
	return errors.Join(err, s.release())
}

// release closes whatever is open.
func (s *Store) release() error {
	var errs []error
	if s.changelog != nil {
		errs = append(errs, s.changelog.Close())
	}
	errs = append(errs, s.ckpt.close())
	if s.groups != nil {
		errs = append(errs, s.groups.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Dir returns the data directory.
func (s *Store) Dir() string { return s.dir }

// SetRetention replaces the retention limits.
func (s *Store) SetRetention(r Retention) { s.retain.Store(&r) }

// Position reports what is durable and visible.
func (s *Store) Position() change.Position { return s.published.Load().pos }

// Errors of Open. What reading and consumer groups may end with is in
// store/change.
var (
	// ErrLocked means that another process has the data directory open.
	ErrLocked = errors.New("data directory is in use")
	// ErrTooNew is wrapped when a file was written by a newer carbond. Nothing
	// is changed then.
	ErrTooNew = changelog.ErrTooNew
	// ErrCheckpoint is wrapped when the checkpoint is damaged, or does not fit
	// the changelog.
	ErrCheckpoint = checkpoint.ErrDamaged
)

// CorruptionError names the place of damage in a changelog file.
type CorruptionError = changelog.CorruptionError

// lockDir takes the data directory for this process. The lock is the kernel's
// and goes with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "LOCK")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w by process %s; stop it, or give this one another data directory", dir, ErrLocked, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return f, nil
}
