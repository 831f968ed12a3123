// Package changelog keeps blocks of bytes under increasing offsets in a
// directory of bbolt files, the segments. It knows offsets, checksums and
// durability, and nothing of what the bytes mean.
//
// Invariants
//
//  1. Append is one bbolt commit: when it returns, blocks, dictionary and tail
//     are on disk; when it fails, none of them is.
//  2. Blocks are never changed, but for what Strip takes out of those below Floor.
//     Offsets run on without gaps, across segments, but for the holes that History
//     records.
//  3. Tail.Visible is the high-water mark. Blocks behind it belong to a
//     transaction that has not ended; Open cuts them off.
//  4. A block never straddles the high-water mark.
//  5. Only the newest segment is written. Every segment repeats the dictionary
//     and, in its header, the tail at its start, so a fresh one loses nothing.
//  6. A segment file appears under its final name only when its header is on
//     disk and the directory entry is synced.
//
// One goroutine appends, drops and closes; any number read at the same time.
package changelog
