package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"carbond/store"
)

// errStopped ends a start that a signal interrupted: no failure.
var errStopped = errors.New("stopped before it was up")

// openStore opens the data directory. A replay can take long, so a signal ends
// the wait: the process is about to exit, and an interrupted replay leaves
// nothing behind.
func openStore(dir string, opt store.Options, signals <-chan os.Signal, log *slog.Logger) (*store.Store, error) {
	type result struct {
		s   *store.Store
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := store.Open(dir, opt)
		done <- result{s, err}
	}()
	for {
		select {
		case r := <-done:
			if r.err != nil {
				return nil, ExplainOpen(dir, r.err)
			}
			return r.s, nil
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				continue // the configuration was read a moment ago
			}
			log.Info("stopping while the data directory is opened", "reason", "signal: "+sig.String())
			return nil, errStopped
		}
	}
}

// ExplainOpen says what to do about a data directory that does not open.
func ExplainOpen(dir string, err error) error {
	var damage *store.CorruptionError
	switch {
	case errors.Is(err, store.ErrLocked):
		return err // names the holder and the remedy
	case errors.As(err, &damage), errors.Is(err, store.ErrCheckpoint):
		return fmt.Errorf("open data directory %s: %w; nothing was changed: run `carbond fsck --data-dir %s` to see what is damaged and what to do", dir, err, dir)
	case errors.Is(err, store.ErrTooNew):
		return fmt.Errorf("open data directory %s: %w; nothing was changed: use the newer carbond, or another data_dir", dir, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("open data directory %s: %w; data_dir must be on a writable file system", dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open data directory %s: %w; data_dir must belong to the user that runs carbond", dir, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("open data directory %s: %w; free space on the file system, nothing is lost", dir, err)
	}
	return fmt.Errorf("open data directory %s: %w", dir, err)
}
