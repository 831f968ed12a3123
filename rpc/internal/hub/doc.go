// Package hub shares one reader of the changes of the views among any number of
// watchers.
//
// One goroutine takes transactions from one follower of the changelog, encodes
// every delta once, and puts them as batches into a ring that is bounded by
// count and bytes. A watcher has nothing here but an offset: it asks for the
// batch behind it and gets messages that are ready to send, the same ones for
// every watcher with the same view and filter.
//
// # Invariants
//
//  1. No watcher is ever waited for. One that falls off the ring gets ErrGone.
//  2. Batches begin and end at ends of transactions, and their offsets rise.
//     Behind the last part of a transaction, and only there, a message says so
//     (Head.Last).
//  3. The goroutine runs while somebody has joined, and Close waits for it.
//  4. What a batch hands out is immutable.
//
// # Cost
//
// A message costs its sender some microseconds however small it is. The hub
// therefore reads in steps that grow with the number of watchers, so that all of
// them together are woken a bounded number of times a second; transactions that
// came meanwhile share a batch. One watcher is told within a millisecond, a
// thousand within a tenth of a second, by default. In the same way the bytes of
// all messages together are bounded by second.
package hub
