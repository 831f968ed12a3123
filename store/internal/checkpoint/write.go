package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// Batch collects what happened to rows between two offsets, the last word on
// each key only.
type Batch struct {
	rows      map[string]put // table byte and stored key
	keys      []string       // of rows, as they came: a copy of a table has them in order
	cleared   map[byte]bool
	relations map[uint32][]byte
	bytes     int
}

type put struct {
	relation uint32
	row      change.Row // "" deletes
}

// NewBatch returns an empty Batch.
func NewBatch() *Batch {
	return &Batch{rows: map[string]put{}, cleared: map[byte]bool{}, relations: map[uint32][]byte{}}
}

// Put stores a row.
func (b *Batch) Put(table byte, key string, relation uint32, row change.Row) {
	b.set(table, key, put{relation, row})
}

// Delete removes a row.
func (b *Batch) Delete(table byte, key string) { b.set(table, key, put{}) }

// maxKey keeps stored keys below bbolt's limit of 32,768 bytes. A longer key is
// cut and told apart by its hash; the row itself still holds all of it.
const maxKey = 4096

// emptyKey stands for the empty key, which bbolt does not take and Postgres
// does: a text may have no bytes. No key is like it, for text holds no zero byte.
const emptyKey = "\x00"

func (b *Batch) set(table byte, key string, p put) {
	switch {
	case key == "":
		key = emptyKey
	case len(key) > maxKey:
		sum := sha256.Sum256([]byte(key))
		key = key[:maxKey] + string(sum[:])
	}
	k, n := string([]byte{table})+key, len(b.rows)
	if b.rows[k] = p; len(b.rows) > n {
		b.keys = append(b.keys, k)
	}
	b.bytes += len(k) + len(p.row) + 64
}

// Clear removes every row of a table.
func (b *Batch) Clear(table byte) {
	b.cleared[table] = true
	b.keys = slices.DeleteFunc(b.keys, func(k string) bool {
		if k[0] == table {
			delete(b.rows, k)
		}
		return k[0] == table
	})
}

// Relation adds a dictionary entry.
func (b *Batch) Relation(number uint32, relation []byte) { b.relations[number] = relation }

// Bytes estimates the memory that the batch holds.
func (b *Batch) Bytes() int { return b.bytes }

// Apply commits the batch together with the offset that it leads to.
func (f *File) Apply(b *Batch, applied change.Offset) error {
	keys := b.keys
	slices.Sort(keys) // bbolt writes neighbouring keys for the price of one
	err := f.file.Update(func(tx *bolt.Tx) error {
		rows, dict := tx.Bucket(bucketRows), tx.Bucket(bucketDict)
		for number, w := range b.relations {
			k := binary.BigEndian.AppendUint32(nil, number)
			if err := dict.Put(k, boltfile.Protect(k, w)); err != nil {
				return err
			}
		}
		for table := range b.cleared {
			if err := clearTable(rows, table); err != nil {
				return err
			}
		}
		var t *bolt.Bucket
		for i, k := range keys {
			if i == 0 || k[0] != keys[i-1][0] {
				var err error
				if t, err = tableOf(rows, k[0], []byte(k[1:])); err != nil {
					return err
				}
			}
			if err := putRow(t, []byte(k[1:]), b.rows[k]); err != nil {
				return err
			}
			f.file.Spend(tx, f.page) // the leaf that holds it
		}
		return putApplied(tx, applied)
	})
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", f.damage(err))
	}
	f.applied = applied
	return nil
}

// tableOf returns the bucket of a table, for keys from first on. Rows that come
// behind the last one fill their pages: halves would stay halves.
func tableOf(rows *bolt.Bucket, table byte, first []byte) (*bolt.Bucket, error) {
	t, err := rows.CreateBucketIfNotExists([]byte{table})
	if err != nil {
		return nil, err
	}
	if last, _ := t.Cursor().Last(); bytes.Compare(last, first) < 0 {
		t.FillPercent = 1
	}
	return t, nil
}

func putRow(t *bolt.Bucket, k []byte, p put) error {
	if p.row == "" {
		return t.Delete(k)
	}
	v := binary.AppendUvarint(make([]byte, 0, len(p.row)+5), uint64(p.relation))
	return t.Put(k, boltfile.Protect(k, append(v, p.row...)))
}

func clearTable(rows *bolt.Bucket, table byte) error {
	if err := rows.DeleteBucket([]byte{table}); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
		return err
	}
	return nil
}

// CopyTo writes a consistent copy of the file to the writer that open returns
// for its size.
func (f *File) CopyTo(open func(size int64) (io.Writer, error)) error {
	return f.damage(f.file.View(func(tx *bolt.Tx) error {
		w, err := open(tx.Size())
		if err != nil {
			return err
		}
		_, err = tx.WriteTo(w)
		return err
	}))
}

// Stats returns the size of the file and the bytes in it that are free. It may
// be called beside Apply.
func (f *File) Stats() (size, free int64) {
	if fi, err := os.Stat(f.path); err == nil {
		size = fi.Size()
	}
	return size, f.file.Free()
}

// Compact rewrites the file when more than half of a large one is free. After an
// error the File is as it was.
func (f *File) Compact() error {
	// bbolt counts free pages at the end of a transaction that writes.
	_ = f.file.Update(func(*bolt.Tx) error { return errCount })
	size, free := f.Stats()
	if size < compactBytes || free < size/2 {
		return nil
	}
	if err := f.file.Compact(4 << 20); err != nil {
		return fmt.Errorf("compact checkpoint: %w", f.damage(err))
	}
	return nil
}

var errCount = errors.New("nothing to write")

// compactBytes is the size below which a file is left alone.
const compactBytes = 64 << 20
