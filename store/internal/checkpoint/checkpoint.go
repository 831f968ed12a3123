// Package checkpoint keeps the table rows as of one changelog offset in a bbolt
// file, so that a start replays only the tail of the log.
//
// The file is derived: it is written from the log alone, never runs ahead of
// it, and can be deleted as long as the log reaches back to its beginning. Each
// commit carries the rows and the offset they stand at. Every value has a
// checksum that covers its key.
package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// FormatVersion is the number in the file. A higher one is refused.
const FormatVersion = 1

// Errors of this package.
var (
	// ErrTooNew is wrapped when the file was written by a newer carbond.
	ErrTooNew = boltfile.ErrTooNew
	// ErrDamaged is wrapped by every error about the file's content.
	ErrDamaged = errors.New("checkpoint is damaged")
)

var (
	bucketMeta = []byte("meta")
	bucketDict = []byte("dictionary")
	bucketRows = []byte("rows") // holds one bucket per table
	keyApplied = []byte("applied")
)

// File is an open checkpoint. One goroutine uses it; Stats may be called beside.
type File struct {
	path string
	file *boltfile.File
	page int // bytes

	applied change.Offset // as on disk
}

// Options tune a File.
type Options struct {
	ReadOnly bool
	NoSync   bool // for tests of everything but durability
}

// Open opens the file, or creates one at offset 0.
func Open(path string, o Options) (*File, error) {
	f := &File{path: path, page: os.Getpagesize()}
	b := boltfile.Options{ReadOnly: o.ReadOnly, NoSync: o.NoSync, Stats: true, Loaded: f.inspect}
	var err error
	f.file, err = boltfile.Open(path, b)
	if errors.Is(err, os.ErrNotExist) && !o.ReadOnly {
		f.file, err = boltfile.Create(path, b, create)
	}
	var damage *boltfile.Error
	switch {
	case err == nil:
		return f, nil
	case errors.As(err, &damage):
		return nil, f.damage(err)
	case errors.Is(err, ErrTooNew), errors.Is(err, ErrDamaged):
		return nil, err
	}
	return nil, fmt.Errorf("open checkpoint %s: %w", path, err)
}

// inspect reads where the file stands, and refuses a newer format before
// anything is written.
func (f *File) inspect(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketDict) == nil || tx.Bucket(bucketRows) == nil {
		return f.damaged(-1, errors.New("buckets are missing"))
	}
	v := meta.Get(keyApplied)
	if err := f.tooNew(v); err != nil {
		return err
	}
	b, err := boltfile.Unprotect(keyApplied, v)
	if err = errors.Join(err, errLength(b, 12)); err != nil {
		return f.damaged(-1, fmt.Errorf("applied offset: %w", err))
	}
	f.applied = change.Offset(binary.BigEndian.Uint64(b[4:]))
	return nil
}

// Applied returns the offset at which the file stands. After a commit that
// failed it reads that again.
func (f *File) Applied() (change.Offset, error) {
	if err := f.file.Ready(); err != nil {
		return 0, f.damage(err)
	}
	return f.applied, nil
}

func (f *File) tooNew(applied []byte) error {
	if len(applied) >= 8 {
		if n := binary.BigEndian.Uint32(applied[4:]); n > FormatVersion && n < 1<<16 {
			return fmt.Errorf("%s: checkpoint format %d: %w; use the newer version, nothing was changed", f.path, n, ErrTooNew)
		}
	}
	return nil
}

func create(tx *bolt.Tx) error {
	for _, name := range [][]byte{bucketMeta, bucketDict, bucketRows} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return putApplied(tx, 0)
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close checkpoint %s: %w", f.path, err)
	}
	return nil
}

func (f *File) damaged(at int64, err error) error {
	where := f.path
	if at >= 0 {
		where += fmt.Sprintf(", byte %d", at)
	}
	return fmt.Errorf("%s: %w: %w. Run `carbond fsck`; the checkpoint is derived, so while the changelog is whole `carbond fsck --rebuild-checkpoint` makes it again", where, ErrDamaged, err)
}

// damage says what to do about an error of the file itself.
func (f *File) damage(err error) error {
	var e *boltfile.Error
	if errors.As(err, &e) && !errors.Is(err, ErrDamaged) {
		return f.damaged(e.Byte, e.Err)
	}
	return err
}

// applied: format number, offset, behind a checksum.
func putApplied(tx *bolt.Tx, at change.Offset) error {
	b := binary.BigEndian.AppendUint32(nil, FormatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	return tx.Bucket(bucketMeta).Put(keyApplied, boltfile.Protect(keyApplied, b))
}

func errLength(b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("value has %d bytes, want %d", len(b), want)
	}
	return nil
}

// Loader receives the content of a checkpoint.
type Loader interface {
	Relation(number uint32, relation []byte) error
	// Row is called for each row, a copy, table by table and mostly in key order.
	Row(relation uint32, row change.Row) error
}

// Load reads everything, checks it, and returns the offset it stands at.
func (f *File) Load(l Loader) (change.Offset, error) {
	err := f.file.View(func(tx *bolt.Tx) error {
		dict, rows := tx.Bucket(bucketDict), tx.Bucket(bucketRows)
		if err := dict.ForEach(func(k, v []byte) error {
			b, err := boltfile.Unprotect(k, v)
			if err != nil || len(k) != 4 {
				return f.damaged(f.file.Place(v), fmt.Errorf("relation %x: %w", k, err))
			}
			return l.Relation(binary.BigEndian.Uint32(k), b)
		}); err != nil {
			return err
		}
		defer boltfile.Release(tx) // every page was read
		return rows.ForEachBucket(func(table []byte) error {
			return rows.Bucket(table).ForEach(func(k, v []byte) error {
				f.file.Spend(tx, len(k)+len(v))
				return f.loadRow(k, v, l)
			})
		})
	})
	return f.applied, f.damage(err)
}

func (f *File) loadRow(k, v []byte, l Loader) error {
	b, err := boltfile.Unprotect(k, v)
	if err != nil {
		return f.damaged(f.file.Place(v), fmt.Errorf("row %q: %w", k, err))
	}
	number, n := binary.Uvarint(b)
	if n <= 0 || number > 1<<32-1 {
		return f.damaged(f.file.Place(v), fmt.Errorf("row %q has no relation", k))
	}
	row := change.Row(b[n:])
	if err := row.Check(); err != nil {
		return f.damaged(f.file.Place(v), fmt.Errorf("row %q: %w", k, err))
	}
	return l.Row(uint32(number), row)
}

// Check runs bbolt's own consistency check.
func (f *File) Check() (errs []error) {
	for _, err := range f.file.Check() {
		errs = append(errs, f.damage(err))
	}
	return errs
}
