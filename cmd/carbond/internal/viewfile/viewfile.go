package viewfile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"carbond/store"
	"carbond/store/change"
)

// Options tune a Writer. The zero value has production defaults.
type Options struct {
	Logger      *slog.Logger          // nil discards
	Registerer  prometheus.Registerer // nil keeps no metrics
	RotateBytes int64                 // default 64 MiB
	Keep        int                   // rotated files of each view; default 7
	Sync        time.Duration         // least time between syncs; default 1 s
	Retry       time.Duration         // first wait after an error, doubled up to a minute; default 1 s
	// Crash is called at named points of every write, for crash tests.
	Crash func(point string)
}

// Writer writes the files of one directory.
type Writer struct {
	dir string
	src *store.Store
	opt Options
	log *slog.Logger
	met *metrics

	trouble atomic.Pointer[string] // what went wrong last, nil when all is well
}

// New returns a Writer of the views of src. It touches nothing.
func New(dir string, src *store.Store, opt Options) *Writer {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.RotateBytes <= 0 {
		opt.RotateBytes = 64 << 20
	}
	if opt.Keep <= 0 {
		opt.Keep = 7
	}
	if opt.Sync <= 0 {
		opt.Sync = time.Second
	}
	if opt.Retry <= 0 {
		opt.Retry = time.Second
	}
	if opt.Crash == nil {
		opt.Crash = func(string) {}
	}
	return &Writer{dir: dir, src: src, opt: opt, log: opt.Logger, met: newMetrics(opt.Registerer)}
}

// maxRetry is the longest wait after an error.
const maxRetry = time.Minute

// Run writes until ctx ends. Errors are logged, counted and tried again.
func (w *Writer) Run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = w.opt.Retry, maxRetry
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, ctx.Err()) {
				w.log.Warn("view files end at an earlier sync; the next start repeats what came since", "dir", w.dir, "error", err)
			}
			return nil
		}
		if errors.Is(err, errRefill) {
			continue // the state file says so, and so did the log
		}
		text := err.Error()
		w.trouble.Store(&text)
		w.met.errors.Inc()
		if time.Since(began) > 2*maxRetry {
			wait.Reset()
		}
		pause := wait.NextBackOff()
		w.log.Error("view files are not written; trying again from the last sync", "dir", w.dir, "wait", pause, "error", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// Trouble returns why the files are behind, "" when all is well.
func (w *Writer) Trouble() string {
	if t := w.trouble.Load(); t != nil {
		return *t
	}
	return ""
}

// errRefill ends a session after which the files are filled again.
var errRefill = errors.New("the files are filled again")

// session goes from the state file on until something fails or ctx ends.
func (w *Writer) session(ctx context.Context) (err error) {
	d, err := openDir(w.dir)
	if err != nil {
		return err
	}
	d.crash = w.opt.Crash
	defer d.close()
	st, err := d.load()
	if err != nil {
		return err
	}
	if st, err = w.settle(d, st); err != nil {
		return err
	}
	f, st, err := w.begin(ctx, d, st)
	if err != nil {
		return err
	}
	return w.follow(ctx, d, f, st)
}

// begin opens the files and continues behind the state's offset, or fills them.
func (w *Writer) begin(ctx context.Context, d *dir, st state) (*store.Follower, state, error) {
	fill := st.Phase == phaseFill
	if fill {
		st.Offset = w.src.Position().Offset
	}
	f, snap, err := w.src.Follow(ctx, st.Offset)
	var gone *change.CompactedError
	var other *change.HistoryError
	switch {
	case errors.As(err, &other) && !fill:
		return nil, st, w.refill(d, st, other.Error())
	case errors.As(err, &gone) && fill:
		return nil, st, err // retention was quicker: again
	case errors.As(err, &gone):
		return nil, st, w.refill(d, st, fmt.Sprintf("retention keeps offset %d and later, the files end at %d", gone.Oldest, st.Offset))
	case errors.Is(err, change.ErrFuture) && !fill:
		return nil, st, w.refill(d, st, fmt.Sprintf("the changelog ends at offset %d, the files at %d: was an older copy restored?", w.src.Position().Offset, st.Offset))
	case err != nil:
		return nil, st, err
	}
	if err := d.open(&st); err != nil {
		return nil, st, err
	}
	if !fill {
		return f, st, nil
	}
	if err := d.fill(snap); err != nil {
		return nil, st, err
	}
	st.Phase = phaseFollow
	if err := w.sync(d, &st, st.Offset); err != nil {
		return nil, st, err
	}
	w.log.Info("view files filled", "dir", w.dir, "offset", uint64(st.Offset))
	return f, st, d.prune(st, w.opt.Keep)
}

// follow appends transaction after transaction.
func (w *Writer) follow(ctx context.Context, d *dir, f *store.Follower, st state) error {
	at, due := st.Offset, time.Now().Add(w.opt.Sync)
	for {
		wctx, cancel := context.WithDeadline(ctx, due)
		txns, err := f.Next(wctx)
		cancel()
		for i := range txns {
			n, err := d.append(&txns[i])
			w.met.bytes.Add(float64(n))
			if err != nil {
				return err
			}
			at = txns[i].Offset
			if d.full(w.opt.RotateBytes) {
				if err := w.rotate(d, &st, at); err != nil {
					return err
				}
			}
		}
		if err == nil {
			err = d.flush()
		}
		switch {
		case ctx.Err() != nil:
			return w.sync(d, &st, at)
		case errors.Is(err, change.ErrClosed):
			return errors.Join(err, w.sync(d, &st, at))
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			var gone *change.CompactedError
			if errors.As(err, &gone) {
				if err := w.sync(d, &st, at); err != nil {
					return err
				}
				return w.refill(d, st, fmt.Sprintf("retention keeps offset %d and later, the files end at %d", gone.Oldest, at))
			}
			return err
		}
		if !time.Now().Before(due) {
			due = time.Now().Add(w.opt.Sync)
			if err := w.sync(d, &st, at); err != nil {
				return err
			}
		}
	}
}

// sync makes everything up to offset at durable, and says so in the state file.
func (w *Writer) sync(d *dir, st *state, at change.Offset) error {
	if d.phase == st.Phase && st.Offset == at && !d.dirty() {
		return nil
	}
	if err := d.sync(); err != nil {
		return err
	}
	st.Offset, st.Mark, st.History = at, mark(w.src, at), w.src.History().ID
	for v, f := range d.files {
		p := st.Files[v]
		p.Bytes = f.size
		st.Files[v] = p
	}
	if err := d.save(*st); err != nil {
		return err
	}
	w.met.offset.Set(float64(at))
	if t := w.trouble.Swap(nil); t != nil {
		w.log.Info("view files are written again", "dir", w.dir, "offset", uint64(at))
	}
	return nil
}

// rotate renames the files that are full. The state file has their lengths
// before and forgets them after; load understands whatever a crash leaves.
func (w *Writer) rotate(d *dir, st *state, at change.Offset) error {
	if err := w.sync(d, st, at); err != nil {
		return err
	}
	n, err := d.rotate(st, w.opt.RotateBytes)
	if err != nil {
		return err
	}
	w.met.rotations.Add(float64(n))
	if err := d.save(*st); err != nil {
		return err
	}
	return d.prune(*st, w.opt.Keep)
}

// refill notes durably that the files are to be moved aside and filled again.
func (w *Writer) refill(d *dir, st state, why string) error {
	st.Phase = phaseRetire
	if err := d.save(st); err != nil {
		return err
	}
	w.met.refills.Inc()
	w.log.Warn("view files start again with every row; what was there is moved aside", "dir", w.dir, "reason", why)
	return errRefill
}

// mark tells changelogs apart: what the record at an offset says of its
// transaction. It is "" when that record is not there (any more).
func mark(s *store.Store, at change.Offset) string {
	if at == 0 {
		return ""
	}
	recs, err := s.NewReader(at).Read(1)
	if err != nil || len(recs) == 0 || recs[0].Offset != at {
		return ""
	}
	r := &recs[0]
	return fmt.Sprintf("%s/%d/%d", r.CommitLSN, r.XID, r.CommitTime.UnixMicro())
}
