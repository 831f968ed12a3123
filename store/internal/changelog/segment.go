package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// FormatVersion is the number in every segment header. A directory with a
// higher one is refused and left untouched.
const FormatVersion = 3

const (
	segmentSuffix = ".seg"
	tempSuffix    = boltfile.TempSuffix
)

var (
	bucketMeta   = []byte("meta")
	bucketDict   = []byte("dictionary")
	bucketBlocks = []byte("blocks")
	bucketTopics = []byte("topics") // since format 3
	bucketStart  = []byte("start")  // the topics at the start of the segment

	keyHeader  = []byte("header")
	keyTail    = []byte("tail")
	keySeal    = []byte("seal")
	keyHistory = []byte("history")
)

// segment is one bbolt file. Only the newest is open for writing.
type segment struct {
	path  string
	first change.Offset

	// Guarded by Log.mu.
	db      *boltfile.File // nil while a sealed segment is not mapped
	refs    int            // readers inside
	dropped bool           // unlinked; closed when the last reader leaves
	size    int64
	created time.Time
	start   *Tail // of the header; nil until it was read
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

// open maps the file.
func (s *segment) open(readOnly bool, o Options) (err error) {
	s.db, err = boltfile.Open(s.path, o.file(readOnly))
	return s.trouble("open", err)
}

// file says how a segment file is used.
func (o Options) file(readOnly bool) boltfile.Options {
	f := boltfile.Options{ReadOnly: readOnly, NoSync: o.NoSync, Distrust: o.distrust}
	if !readOnly {
		f.Map, f.Grow = o.mmap(), o.growth()
	}
	return f
}

// trouble gives an error of the file its place among those of the changelog.
func (s *segment) trouble(do string, err error) error {
	var e *boltfile.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return s.corrupt(0, e.Byte, e.Err)
	}
	return fmt.Errorf("%s segment %s: %w", do, s.path, err)
}

func (s *segment) close() error {
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db = nil
	return s.trouble("close", db.Close())
}

func (s *segment) view(fn func(*bolt.Tx) error) error { return s.damage(s.db.View(fn)) }

func (s *segment) update(fn func(*bolt.Tx) error) error { return s.damage(s.db.Update(fn)) }

// damage makes what a transaction found wrong with the file a CorruptionError.
func (s *segment) damage(err error) error {
	var e *boltfile.Error
	if errors.As(err, &e) {
		return s.corrupt(0, e.Byte, e.Err)
	}
	return err
}

// place returns the byte position of a value inside the mapped file.
func (s *segment) place(v []byte) int64 { return s.db.Place(v) }

// createSegment makes an empty segment that carries on from tail and returns it
// opened for writing. After an error the file may have got its name.
func createSegment(dir string, tail Tail, h change.History, dict map[uint32][]byte, topics map[string][]byte, o Options) (*segment, error) {
	first := tail.Next
	s := &segment{path: segmentPath(dir, first), first: first, created: time.Now(), start: &tail}
	f := o.file(false)
	f.Crash = func(point string) { o.crash("segment." + point) }
	f.Fault = func(point string) error { return o.fault("segment." + point) }
	var err error
	s.db, err = boltfile.Create(s.path, f, func(tx *bolt.Tx) error { return fillSegment(tx, tail, h, dict, topics) })
	return s, s.trouble("create", err)
}

func segmentPath(dir string, first change.Offset) string {
	return filepath.Join(dir, segmentName(first))
}

func fillSegment(tx *bolt.Tx, tail Tail, h change.History, dict map[uint32][]byte, topics map[string][]byte) error {
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
		if err := d.Put(dictKey(id), protect(v)); err != nil {
			return err
		}
	}
	for _, name := range [][]byte{bucketTopics, bucketStart} {
		b, err := tx.CreateBucket(name)
		if err != nil {
			return err
		}
		if err := putTopics(b, topics); err != nil {
			return err
		}
	}
	if err := meta.Put(keyTail, protect(encodeTail(tail))); err != nil {
		return err
	}
	return identify(meta, tail.Next, tail, h)
}

func putTopics(b *bolt.Bucket, topics map[string][]byte) error {
	for name, v := range topics {
		if err := b.Put([]byte(name), protect(v)); err != nil {
			return err
		}
	}
	return nil
}

// protect prefixes v with its checksum, for the small values beside the blocks.
func protect(v []byte) []byte { return boltfile.Protect(nil, v) }

func unprotect(v []byte) ([]byte, error) { return boltfile.Unprotect(nil, v) }

func dictKey(id uint32) []byte { return binary.BigEndian.AppendUint32(nil, id) }
