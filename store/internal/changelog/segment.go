package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// FormatVersion is the number in every segment header. A directory with a
// higher one is refused and left untouched.
const FormatVersion = 1

const (
	segmentSuffix = ".seg"
	tempSuffix    = ".tmp"
)

var (
	bucketMeta   = []byte("meta")
	bucketDict   = []byte("dictionary")
	bucketBlocks = []byte("blocks")

	keyHeader = []byte("header")
	keyTail   = []byte("tail")
	keySeal   = []byte("seal")
)

// segment is one bbolt file. Only the newest is open for writing.
type segment struct {
	path  string
	first change.Offset

	// Guarded by Log.mu.
	db      *bolt.DB // nil while a sealed segment is not mapped
	refs    int      // readers inside
	dropped bool     // unlinked; closed when the last reader leaves
	last    change.Offset
	size    int64
	born    time.Time
	birth   *Tail // of the header; nil until it was read

	spent atomic.Int64 // bytes read and written since the mapping was released
}

func segmentName(first change.Offset) string {
	return fmt.Sprintf("%020d%s", uint64(first), segmentSuffix)
}

func parseSegmentName(name string) (change.Offset, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return change.Offset(n), err == nil && n > 0
}

// open maps the file. bbolt panics or faults on some kinds of damage; both come
// back as corruption.
func (s *segment) open(readOnly bool, o Options) (err error) {
	defer s.guard(&err)()
	mmap := 0
	if !readOnly {
		mmap = o.mmap()
		err = boltfile.Probe(s.path)
	}
	var db *bolt.DB
	if err == nil {
		db, err = s.bolt(readOnly, mmap, o)
	}
	if err != nil {
		if errors.Is(err, berrors.ErrTimeout) || errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) || isSpace(err) {
			return fmt.Errorf("open segment %s: %w", s.path, err)
		}
		return s.corrupt(0, -1, err)
	}
	db.AllocSize = o.growth()
	s.db = db
	return nil
}

func (s *segment) bolt(readOnly bool, mmap int, o Options) (*bolt.DB, error) {
	return bolt.Open(s.path, 0o640, &bolt.Options{
		Timeout:         time.Second,
		ReadOnly:        readOnly,
		NoFreelistSync:  true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmap,
		NoSync:          o.NoSync,
		NoStatistics:    true,
	})
}

// guard turns a panic or a memory fault inside bbolt into a corruption error.
func (s *segment) guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			*err = s.corrupt(0, -1, fmt.Errorf("bbolt: %v", p))
		}
	}
}

func (s *segment) close() error {
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("close segment %s: %w", s.path, err)
	}
	return nil
}

func (s *segment) view(fn func(*bolt.Tx) error) (err error) {
	defer s.guard(&err)()
	return s.db.View(fn)
}

func (s *segment) update(fn func(*bolt.Tx) error) (err error) {
	defer s.guard(&err)()
	return s.db.Update(fn)
}

// spend counts bytes that a transaction has touched, and gives the mapping's
// memory back once in a while: a segment is read once and not again for long.
func (s *segment) spend(tx *bolt.Tx, n int) {
	if s.spent.Add(int64(n)) >= boltfile.Spent {
		s.spent.Store(0)
		boltfile.Release(tx)
	}
}

// place returns the byte position of a value inside the mapped file.
func (s *segment) place(v []byte) int64 {
	if len(v) == 0 {
		return -1
	}
	return int64(uintptr(unsafe.Pointer(&v[0])) - s.db.Info().Data)
}

// createSegment makes an empty segment that carries on from tail and returns
// it opened for writing. With an error it returns a segment only when the file
// may have got its name.
func createSegment(dir string, tail Tail, dict map[uint32][]byte, o Options) (*segment, error) {
	first := tail.Next
	s := &segment{path: filepath.Join(dir, segmentName(first)), first: first, last: first - 1, born: time.Now(), birth: &tail}
	tmp := &segment{path: s.path + tempSuffix, first: first}
	if err := os.Remove(tmp.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove left-over %s: %w", tmp.path, err)
	}
	if err := tmp.open(false, o); err != nil {
		return nil, err
	}
	err := o.fault("segment.create")
	if err == nil {
		err = tmp.update(func(tx *bolt.Tx) error { return fillSegment(tx, first, tail, dict) })
	}
	if err != nil {
		_ = tmp.close()
		_ = os.Remove(tmp.path)
		return nil, fmt.Errorf("create segment %s: %w", s.path, err)
	}
	o.crash("segment.created")
	if err := os.Rename(tmp.path, s.path); err != nil {
		_ = tmp.close()
		_ = os.Remove(tmp.path)
		return nil, fmt.Errorf("name segment: %w", err)
	}
	s.db = tmp.db
	if err := errors.Join(syncDir(dir), o.fault("segment.named")); err != nil {
		_ = s.close()
		return s, err
	}
	o.crash("segment.named")
	return s, nil
}

// unname removes a segment file that nothing was written to.
func unname(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove segment: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func fillSegment(tx *bolt.Tx, first change.Offset, tail Tail, dict map[uint32][]byte) error {
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	d, err := tx.CreateBucket(bucketDict)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(bucketBlocks); err != nil {
		return err
	}
	for id, v := range dict {
		if err := d.Put(dictKey(id), sealed(v)); err != nil {
			return err
		}
	}
	if err := meta.Put(keyHeader, sealed(encodeHeader(first, tail))); err != nil {
		return err
	}
	return meta.Put(keyTail, sealed(encodeTail(tail)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// sealed prefixes v with its CRC-32C, for the small values beside the blocks.
func sealed(v []byte) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(v)), crc32.Checksum(v, castagnoli))
	return append(out, v...)
}

// unseal checks and strips the CRC-32C.
func unseal(v []byte) ([]byte, error) {
	if len(v) < 4 {
		return nil, errors.New("value is missing or cut short")
	}
	if crc32.Checksum(v[4:], castagnoli) != binary.BigEndian.Uint32(v) {
		return nil, errChecksum
	}
	return v[4:], nil
}

func dictKey(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }
