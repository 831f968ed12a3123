package changelog

import (
	"fmt"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/durable"
	"carbond/store/internal/boltfile"
)

// batch is how many bytes of frames one commit of a rewrite holds.
const batch = 4 << 20

// Compress rewrites the oldest sealed segment that is not compressed yet with
// zstd payloads, and reports whether there was one. The new file takes the old
// one's name when it is whole and synced; readers inside the old one finish
// undisturbed. A crash leaves either the one or the other.
func (l *Log) Compress() (bool, error) {
	s, was, err := l.uncompressed()
	if s == nil || err != nil {
		return false, err
	}
	defer l.leave(s)
	return true, l.rewrite("compress", s, was, nil)
}

// Strip rewrites the sealed segment that begins at first, as Compress does. strip
// returns what is left of a block's payload when the changes that are not kept are
// taken out, nil for all of it; what is taken out keeps its offsets. Floor is raised
// before the new file can be read, so that who reads and then looks at Floor knows
// whether it has seen everything.
func (l *Log) Strip(first change.Offset, strip func(Block) ([]byte, error)) error {
	s, err := l.pin(first)
	if s == nil || err != nil {
		return err
	}
	defer l.leave(s)
	was, err := s.sealed()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.floor = max(l.floor, l.history.After(was.last))
	l.show()
	l.mu.Unlock()
	if was.flags&sealStripped != 0 { // by an earlier try, which could not say so
		return nil
	}
	was.flags |= sealStripped
	return l.rewrite("strip", s, was, strip)
}

// rewrite replaces a pinned segment by one whose payloads are compressed, and stripped
// where strip is not nil. was is its seal.
func (l *Log) rewrite(what string, s *segment, was seal, strip func(Block) ([]byte, error)) error {
	tmp := &segment{path: s.path + tempSuffix, first: s.first, created: s.created}
	o := Options{SegmentBytes: l.opt.SegmentBytes, NoSync: l.opt.NoSync}.file(false)
	if strip != nil {
		o.Grow = max(o.Grow/16, 4<<10) // little may be left
	}
	var err error
	if tmp.db, err = boltfile.Make(tmp.path, o); err != nil {
		return fmt.Errorf("%s %s: %w", what, s.path, err)
	}
	err = l.fill(tmp, s, was, strip)
	if cerr := tmp.close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(tmp.path)
		return fmt.Errorf("%s %s: %w", what, s.path, err)
	}
	l.opt.crash(what + ".written")
	return l.replace(what, s, tmp.path)
}

// sealed reads the seal of a pinned segment.
func (s *segment) sealed() (was seal, err error) {
	err = s.view(func(tx *bolt.Tx) (err error) {
		v := tx.Bucket(bucketMeta).Get(keySeal)
		if was, err = decodeSeal(v); err != nil {
			return s.corrupt(0, s.place(v), err)
		}
		return nil
	})
	return was, err
}

// uncompressed pins the oldest sealed segment whose seal says that it is plain,
// and returns the seal.
func (l *Log) uncompressed() (s *segment, was seal, err error) {
	for _, g := range l.Segments() {
		if !g.Sealed {
			return nil, was, nil
		}
		l.mu.Lock()
		done := l.compressed[g.First]
		l.mu.Unlock()
		if done {
			continue
		}
		if s, err = l.pin(g.First); s == nil || err != nil {
			return nil, was, err
		}
		was, err = s.sealed()
		if err == nil && was.flags&sealZstd == 0 {
			return s, was, nil
		}
		l.leave(s)
		if err != nil {
			return nil, was, err
		}
		l.mu.Lock()
		l.compressed[g.First] = true
		l.mu.Unlock()
	}
	return nil, was, nil
}

// fill copies s, which was sealed so, into the empty file tmp, frame by frame.
func (l *Log) fill(tmp, s *segment, was seal, strip func(Block) ([]byte, error)) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer enc.Close()
	out := seal{flags: was.flags | sealZstd}
	if err := tmp.update(func(w *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketDict, bucketBlocks} {
			if _, err := w.CreateBucket(name); err != nil {
				return err
			}
		}
		return s.view(func(r *bolt.Tx) error {
			for _, name := range [][]byte{bucketMeta, bucketTopics, bucketStart} {
				if err := copyBucket(w, r, name); err != nil {
					return err
				}
			}
			return copyBucket(w, r, bucketDict)
		})
	}); err != nil {
		return err
	}
	for at, more := offsetKey(s.first), true; more; {
		var keys, frames [][]byte
		if err := s.view(func(r *bolt.Tx) error {
			c := r.Bucket(bucketBlocks).Cursor()
			k, v := c.Seek(at)
			for n := 0; k != nil && n < batch; k, v = c.Next() {
				f, err := l.recode(k, v, enc, strip)
				if err != nil {
					return s.corrupt(0, s.place(v), err)
				}
				keys, frames, n = append(keys, slices.Clone(k)), append(frames, slices.Clone(f)), n+len(v)
			}
			more = k != nil
			at = slices.Clone(k)
			return nil
		}); err != nil {
			return err
		}
		for i, f := range frames {
			b, err := decodeFrame(keys[i], f, l.dec)
			if err != nil {
				return err
			}
			out.blocks, out.last, out.sum = out.blocks+1, b.Last(), addSum(out.sum, f)
		}
		if err := tmp.update(func(w *bolt.Tx) error {
			b := w.Bucket(bucketBlocks)
			b.FillPercent = 1
			for i := range keys {
				if err := b.Put(keys[i], frames[i]); err != nil {
					return err
				}
			}
			if !more {
				return w.Bucket(bucketMeta).Put(keySeal, protect(encodeSeal(out)))
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if out.blocks != was.blocks || out.last != was.last {
		return s.corrupt(out.last, -1, fmt.Errorf("%d blocks end at %d, want %d that end at %d", out.blocks, out.last, was.blocks, was.last))
	}
	return nil
}

// recode returns the frame with what strip leaves of its payload, compressed.
func (l *Log) recode(key, f []byte, enc *zstd.Encoder, strip func(Block) ([]byte, error)) ([]byte, error) {
	if strip == nil {
		return compressFrame(key, f, enc)
	}
	b, err := decodeFrame(key, f, l.dec)
	if err != nil {
		return nil, err
	}
	left, err := strip(b)
	if err != nil {
		return nil, err
	}
	if left != nil {
		f = buildFrame(key, b.Count, len(left), left, frameStripped)
	}
	return compressFrame(key, f, enc)
}

func copyBucket(w, r *bolt.Tx, name []byte) error {
	if r.Bucket(name) == nil {
		return nil // of format 2
	}
	to, err := w.CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	return r.Bucket(name).ForEach(func(k, v []byte) error { return to.Put(k, v) })
}

// compressFrame returns the frame with a compressed payload, or the frame itself when
// that would not be smaller.
func compressFrame(key, f []byte, enc *zstd.Encoder) ([]byte, error) {
	if len(f) > 1 && f[1]&frameZstd != 0 {
		return f, nil
	}
	b, err := decodeFrame(key, f, nil)
	if err != nil {
		return nil, err
	}
	packed := enc.EncodeAll(b.Data, nil)
	if len(packed) >= len(b.Data) {
		return f, nil
	}
	return buildFrame(key, b.Count, len(b.Data), packed, f[1]|frameZstd), nil
}

// replace gives the rewritten file the segment's name and lets new readers map
// it. The segment is pinned: those who read it have the old file, and no Rollback begins.
func (l *Log) replace(what string, s *segment, tmp string) error {
	l.mu.Lock()
	gone := l.closed || !slices.Contains(l.segments, s)
	l.mu.Unlock()
	if gone {
		return os.Remove(tmp)
	}
	if err := l.opt.fault(what + ".name"); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := durable.SyncDir(l.dir); err != nil {
		return err
	}
	l.opt.crash(what + ".named")
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &segment{path: s.path, first: s.first, created: s.created, start: s.start}
	l.segments[slices.Index(l.segments, s)] = next
	l.mapped = slices.DeleteFunc(l.mapped, func(o *segment) bool { return o == s })
	l.compressed[s.first] = true
	s.dropped = true // the last reader unmaps the old file; this call is one of them
	return nil
}

// forget drops what is known of segments that are gone. Callers hold mu.
func (l *Log) forget(before change.Offset) {
	for first := range l.compressed {
		if first < before {
			delete(l.compressed, first)
		}
	}
}
