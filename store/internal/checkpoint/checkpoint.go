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
	"hash/crc32"
	"os"
	"runtime/debug"
	"time"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// FormatVersion is the number in the file. A higher one is refused.
const FormatVersion = 1

// Errors of this package.
var (
	// ErrTooNew is wrapped when the file was written by a newer carbond.
	ErrTooNew = errors.New("format is newer than this carbond understands")
	// ErrDamaged is wrapped by every error about the file's content.
	ErrDamaged = errors.New("checkpoint is damaged")
)

var (
	bucketMeta = []byte("meta")
	bucketDict = []byte("dictionary")
	bucketRows = []byte("rows") // holds one bucket per table
	keyApplied = []byte("applied")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// File is an open checkpoint. One goroutine uses it.
type File struct {
	path string
	db   *bolt.DB
	opt  Options
	page int // bytes

	spent int // bytes touched since the mapping was released
}

// Options tune a File.
type Options struct {
	ReadOnly bool
	NoSync   bool // for tests of everything but durability
}

// Open opens the file, or creates one at offset 0.
func Open(path string, o Options) (f *File, err error) {
	f = &File{path: path, opt: o}
	defer f.guard(&err)()
	if !o.ReadOnly {
		err = boltfile.Probe(path)
	}
	if err == nil {
		f.db, err = bolt.Open(path, 0o640, o.bolt())
	}
	if err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) || errors.Is(err, berrors.ErrTimeout) {
			return nil, fmt.Errorf("open checkpoint %s: %w", path, err)
		}
		return nil, f.damaged(-1, err)
	}
	f.page = f.db.Info().PageSize
	if o.ReadOnly {
		return f, nil
	}
	fresh, err := f.inspect()
	if err == nil && fresh {
		err = f.create()
	}
	if err == nil && !o.NoSync {
		// A process that was killed inside its last commit may have left it in
		// the kernel's memory alone, and retention relies on it.
		err = f.db.Sync()
	}
	if err != nil {
		_ = f.db.Close()
		return nil, err
	}
	return f, nil
}

func (o Options) bolt() *bolt.Options {
	return &bolt.Options{
		Timeout: time.Second, ReadOnly: o.ReadOnly, NoSync: o.NoSync,
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType,
	}
}

// inspect reports whether the file has no content yet, and refuses a newer
// format before anything is written.
func (f *File) inspect() (fresh bool, err error) {
	err = f.db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if fresh = meta == nil; fresh {
			return nil
		}
		return f.tooNew(meta.Get(keyApplied))
	})
	return fresh, err
}

func (f *File) tooNew(applied []byte) error {
	if len(applied) >= 8 {
		if n := binary.BigEndian.Uint32(applied[4:]); n > FormatVersion && n < 1<<16 {
			return fmt.Errorf("%s: checkpoint format %d: %w; use the newer version, nothing was changed", f.path, n, ErrTooNew)
		}
	}
	return nil
}

func (f *File) create() error {
	err := f.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketDict, bucketRows} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return putApplied(tx, 0)
	})
	if err != nil {
		return fmt.Errorf("create checkpoint %s: %w", f.path, err)
	}
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close checkpoint %s: %w", f.path, err)
	}
	return nil
}

func (f *File) guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = f.damaged(-1, fmt.Errorf("bbolt: %v", p))
		}
	}
}

func (f *File) damaged(at int64, err error) error {
	where := f.path
	if at >= 0 {
		where += fmt.Sprintf(", byte %d", at)
	}
	return fmt.Errorf("%s: %w: %w. Run `carbond fsck`; the checkpoint is derived, so while the changelog is whole `carbond fsck --rebuild-checkpoint` makes it anew", where, ErrDamaged, err)
}

func (f *File) place(v []byte) int64 {
	if len(v) == 0 {
		return -1
	}
	return int64(uintptr(unsafe.Pointer(&v[0])) - f.db.Info().Data)
}

// applied: format number, offset, behind a checksum.
func putApplied(tx *bolt.Tx, at change.Offset) error {
	b := binary.BigEndian.AppendUint32(nil, FormatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	return tx.Bucket(bucketMeta).Put(keyApplied, protect(keyApplied, b))
}

func protect(key, v []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(v)), sum), v...)
}

func errLength(b []byte, want int) error {
	if len(b) != want {
		return fmt.Errorf("value has %d bytes, want %d", len(b), want)
	}
	return nil
}

var errChecksum = errors.New("checksum does not match")

func unprotect(key, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return nil, errors.New("value is missing or cut short")
	}
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v[4:]) != binary.BigEndian.Uint32(v) {
		return nil, errChecksum
	}
	return v[4:], nil
}

// Loader receives the content of a checkpoint.
type Loader interface {
	Word(number uint32, relation []byte) error
	// Row is called for each row, a copy, table by table and mostly in key order.
	Row(relation uint32, row change.Row) error
}

// spend counts bytes that a transaction has touched, and gives the mapping's
// memory back once in a while.
func (f *File) spend(tx *bolt.Tx, n int) {
	if f.spent += n; f.spent >= boltfile.Spent {
		f.spent = 0
		boltfile.Release(tx)
	}
}

// Load reads everything, checks it, and returns the offset it stands at.
func (f *File) Load(l Loader) (applied change.Offset, err error) {
	defer f.guard(&err)()
	err = f.db.View(func(tx *bolt.Tx) error {
		meta, dict, rows := tx.Bucket(bucketMeta), tx.Bucket(bucketDict), tx.Bucket(bucketRows)
		if meta == nil || dict == nil || rows == nil {
			return f.damaged(-1, errors.New("buckets are missing"))
		}
		v := meta.Get(keyApplied)
		if err := f.tooNew(v); err != nil {
			return err
		}
		b, err := unprotect(keyApplied, v)
		if err = errors.Join(err, errLength(b, 12)); err != nil {
			return f.damaged(f.place(v), fmt.Errorf("applied offset: %w", err))
		}
		applied = change.Offset(binary.BigEndian.Uint64(b[4:]))
		if err := dict.ForEach(func(k, v []byte) error {
			b, err := unprotect(k, v)
			if err != nil || len(k) != 4 {
				return f.damaged(f.place(v), fmt.Errorf("relation %x: %w", k, err))
			}
			return l.Word(binary.BigEndian.Uint32(k), b)
		}); err != nil {
			return err
		}
		defer boltfile.Release(tx) // every page was read
		return rows.ForEachBucket(func(table []byte) error {
			return rows.Bucket(table).ForEach(func(k, v []byte) error {
				f.spend(tx, len(k)+len(v))
				return f.loadRow(k, v, l)
			})
		})
	})
	return applied, err
}

func (f *File) loadRow(k, v []byte, l Loader) error {
	b, err := unprotect(k, v)
	if err != nil {
		return f.damaged(f.place(v), fmt.Errorf("row %q: %w", k, err))
	}
	number, n := binary.Uvarint(b)
	if n <= 0 || number > 1<<32-1 {
		return f.damaged(f.place(v), fmt.Errorf("row %q has no relation", k))
	}
	row := change.Row(b[n:])
	if err := row.Check(); err != nil {
		return f.damaged(f.place(v), fmt.Errorf("row %q: %w", k, err))
	}
	return l.Row(uint32(number), row)
}

// Check runs bbolt's own consistency check.
func (f *File) Check() (errs []error) {
	err := func() (err error) {
		defer f.guard(&err)()
		return f.db.View(func(tx *bolt.Tx) error {
			if err := boltfile.Probe(f.path); err != nil {
				return f.damaged(-1, err)
			}
			for err := range tx.Check() {
				errs = append(errs, f.damaged(-1, err))
			}
			return nil
		})
	}()
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}
