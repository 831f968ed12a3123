package boltfile

import (
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// spent is how many bytes may be touched through a mapping before it is worth
// giving them back.
const spent = 2 << 20

// Spend counts bytes that a transaction has touched, and gives the mapping's
// memory back once in a while: what the store reads it does not read again soon.
func (f *File) Spend(tx *bolt.Tx, n int) {
	if f.spent.Add(int64(n)) >= spent {
		f.spent.Store(0)
		Release(tx)
	}
}

// Release drops the resident pages of the database that tx reads or writes. It
// is advice: a failure changes nothing but memory figures.
//
// The open transaction keeps bbolt from moving the mapping, and its size is the
// part of the file that holds pages. The file itself may be longer than its
// mapping, for bbolt grows it in large steps, and what lies behind the mapping
// belongs to somebody else.
func Release(tx *bolt.Tx) {
	if tx.Size() <= 0 {
		return
	}
	pages := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), tx.DB().Info().Data)), tx.Size())
	_ = unix.Madvise(pages, unix.MADV_DONTNEED)
}
