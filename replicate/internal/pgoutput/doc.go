// Package pgoutput decodes the messages of Postgres' pgoutput plugin, protocol
// version 1, straight into rows of package change: one allocation for each row.
//
// It is pure: bytes in, events out. It opens no connection, reads no clock and
// starts no goroutine.
//
// Invariants
//
//  1. Malformed input is an error that wraps ErrProtocol, never a panic, and an
//     event is filled only when the whole message was well formed.
//  2. Nothing of the input is kept: the caller may reuse its buffer.
//  3. A Decoder belongs to one connection, since relation numbers do. An
//     identical description of a relation yields the same *change.Relation.
//  4. A row of a relation that is not kept costs nothing but the look at its
//     number.
//  5. A message type that version 1 does not have is an event of kind Other;
//     only Postgres bugs send one (a stray STREAM_ABORT of Postgres 18).
package pgoutput
