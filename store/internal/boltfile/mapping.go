package boltfile

import (
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Spent is how many bytes may be read through a mapping before it is worth
// giving them back.
const Spent = 8 << 20

// What was read through a mapping stays resident until the kernel wants it, and
// counts as the daemon's memory. The pages are those of the file cache: giving
// them back loses nothing, and reading them again maps them again.

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
