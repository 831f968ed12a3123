// Package mapping gives back the memory of files that bbolt has mapped.
//
// A start reads its files from end to end; what was read stays resident until
// the kernel wants it, and counts as the daemon's memory. The pages are those of
// the file cache: giving them back loses nothing, and reading them again maps
// them again.
package mapping

import (
	"os"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Release drops the resident pages of an open database. It is advice: a failure
// changes nothing but memory figures. No transaction may be open.
func Release(db *bolt.DB) {
	fi, err := os.Stat(db.Path())
	if err != nil || fi.Size() == 0 {
		return
	}
	pages := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), db.Info().Data)), fi.Size())
	_ = unix.Madvise(pages, unix.MADV_DONTNEED)
}
