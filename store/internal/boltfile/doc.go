// Package boltfile is what the store's bbolt files have in common, whatever is
// in them: segments, checkpoint and consumer groups.
//
// bbolt reads a file through a mapping. A page that the disk does not give, or
// that makes no sense, is then a memory fault or a panic in the middle of
// bbolt, which ends the process, or leaves bbolt's locks held for ever.
//
// Invariants
//
//  1. Neither happens: what goes wrong with a file is an error that names it and,
//     where it is known, the byte. Close never waits for a lock that a fault left.
//  2. After a commit that failed nothing is known of what the disk holds. The
//     file is opened again, from the disk and not from what the kernel remembers,
//     before the next transaction that writes.
//  3. A file gets its name when it is whole, and the name is durable before
//     anything in it counts. So an empty file is damage, never a beginning.
//
// The list of free pages is stored, which costs every commit a page. Without it
// bbolt walks the file on a goroutine of its own when it opens it for writing,
// where a page that the disk does not give ends the process. A file of an
// earlier version has none, and is walked so once.
package boltfile
