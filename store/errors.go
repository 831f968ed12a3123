package store

import (
	"errors"

	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
)

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
