package changelog

import (
	"fmt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// Errors of this package.
var (
	// ErrClosed is returned after Close.
	ErrClosed = boltfile.ErrClosed
	// ErrTooNew is wrapped when a file was written by a newer carbond.
	ErrTooNew = boltfile.ErrTooNew
)

// CompactedError says that retention has passed the wanted offset.
type CompactedError struct {
	Wanted, Oldest change.Offset
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("offset %d is no longer kept, the oldest is %d", e.Wanted, e.Oldest)
}

// CorruptionError names the place of damage in a file.
type CorruptionError struct {
	File   string
	Offset change.Offset // changelog offset of the damaged block, 0 when unknown
	Byte   int64         // byte position in the file, -1 when unknown
	Hint   string        // what an operator can do
	Err    error
}

func (e *CorruptionError) Error() string {
	s := e.File
	if e.Offset > 0 {
		s += fmt.Sprintf(", offset %d", e.Offset)
	}
	if e.Byte >= 0 {
		s += fmt.Sprintf(", byte %d", e.Byte)
	}
	s += fmt.Sprintf(": %v", e.Err)
	if e.Hint != "" {
		s += ". " + e.Hint
	}
	return s
}

// Unwrap returns the cause.
func (e *CorruptionError) Unwrap() error { return e.Err }

func (s *segment) corrupt(off change.Offset, at int64, err error) error {
	return &CorruptionError{
		File: s.path, Offset: off, Byte: at, Err: err,
		Hint: "Run `carbond fsck` for the extent; restore this directory from a backup, or move it aside to copy everything anew from Postgres",
	}
}
