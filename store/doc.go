// Package store is carbond's storage: an append-only changelog, the state of
// the source tables in memory, the three views answered from it, and a
// checkpoint that shortens the next start.
//
// Flow of one group of transactions, in Apply:
//
//	stage    complete each change from the state (unchanged TOAST values, before
//	         images), change the writer's own version of the state, encode blocks
//	commit   one fsynced changelog commit: blocks and the source position
//	publish  readers see the new version
//
// The checkpoint follows the log at its own pace and is written from the log
// alone. A start loads it and replays what came after it.
//
// Invariants
//
//  1. A position is reported only after the commit that holds it: Position().LSN
//     never runs ahead of the disk.
//  2. A source transaction takes effect once: one whose commit end is not beyond
//     Position().LSN is dropped whole.
//  3. Readers see versions at transaction boundaries only. The parts of a large
//     transaction are on disk but invisible until its end; a crash, an error or
//     a new first part discards them.
//  4. State is a function of the checkpoint and the log behind it; a replay gives
//     the same state bit for bit.
//  5. The checkpoint never stands ahead of the log, and retention never drops a
//     segment that the checkpoint has not passed.
//  6. A failed commit leaves the store as it was before, or, when the disk has it
//     nevertheless, as it is behind it; Position says which.
//  7. An offset number is never used twice: History says which were given out, in
//     this directory and in those that it was restored from.
//
// One goroutine at a time writes (a mutex holds that); any number read. Callers
// outside are cmd/carbond, which also hands the Store to replicate as its Sink
// and to rpc as its Reader.
package store
