package store

import (
	"errors"

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

// ErrDiverged is wrapped when a change does not fit the state that the log
// leads to, such as an unchanged value of a row that is not there. The source
// must be copied anew.
var ErrDiverged = errors.New("change does not fit the stored state")

// CorruptionError names the place of damage in a changelog file.
type CorruptionError = changelog.CorruptionError

// CompactedError says that retention has passed a wanted offset.
type CompactedError = changelog.CompactedError
