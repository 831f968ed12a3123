package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"carbond/store"
)

// explainOpen says what to do about a data directory that does not open.
func explainOpen(dir string, err error) error {
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
