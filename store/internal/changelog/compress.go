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
	tmp := &segment{path: s.path + tempSuffix, first: s.first, created: s.created}
	if tmp.db, err = boltfile.Make(tmp.path, Options{SegmentBytes: l.opt.SegmentBytes, NoSync: l.opt.NoSync}.file(false)); err != nil {
		return false, fmt.Errorf("compress %s: %w", s.path, err)
	}
	err = l.rewrite(s, tmp, was)
	if cerr := tmp.close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(tmp.path)
		return false, fmt.Errorf("compress %s: %w", s.path, err)
	}
	l.opt.crash("compress.written")
	return true, l.replace(s, tmp.path)
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
		err = s.view(func(tx *bolt.Tx) (err error) {
			v := tx.Bucket(bucketMeta).Get(keySeal)
			if was, err = decodeSeal(v); err != nil {
				return s.corrupt(0, s.place(v), err)
			}
			return nil
		})
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

// rewrite copies s, which was sealed so, into the empty file tmp, frame by frame.
func (l *Log) rewrite(s, tmp *segment, was seal) error {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer enc.Close()
	out := seal{flags: sealZstd}
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
				f, err := compressFrame(k, v, enc)
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
	return buildFrame(key, b.Count, len(b.Data), packed, frameZstd), nil
}

// replace gives the rewritten file the segment's name and lets new readers map
// it. The segment is pinned: those who read it have the old file, and no Rollback begins.
func (l *Log) replace(s *segment, tmp string) error {
	l.mu.Lock()
	gone := l.closed || !slices.Contains(l.segments, s)
	l.mu.Unlock()
	if gone {
		return os.Remove(tmp)
	}
	if err := l.opt.fault("compress.name"); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := durable.SyncDir(l.dir); err != nil {
		return err
	}
	l.opt.crash("compress.named")
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
