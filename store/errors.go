package store

import (
	"errors"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
)

// Errors of Open.
var (
	// ErrLocked means that another process has the data directory open.
	ErrLocked = errors.New("data directory is in use")
	// ErrTooNew is wrapped when a file was written by a newer carbond. Nothing
	// is changed then.
	ErrTooNew = changelog.ErrTooNew
	// ErrClosed is returned by calls after Close.
	ErrClosed = changelog.ErrClosed
	// ErrCheckpoint is wrapped when the checkpoint is damaged, or does not fit
	// the changelog.
	ErrCheckpoint = checkpoint.ErrDamaged
)

// ErrDiverged is change.ErrDiverged.
var ErrDiverged = change.ErrDiverged

// CorruptionError names the place of damage in a changelog file.
type CorruptionError = changelog.CorruptionError

// CompactedError says that retention has passed a wanted offset.
type CompactedError = changelog.CompactedError
