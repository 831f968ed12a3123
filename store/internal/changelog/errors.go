package changelog

import (
	"fmt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// ErrTooNew is wrapped when a file was written by a newer carbond.
var ErrTooNew = boltfile.ErrTooNew

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
		Hint: "Run `carbond fsck` for the extent; restore this directory from a backup, or move it aside to copy everything again from Postgres",
	}
}
