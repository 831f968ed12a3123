// Package cache holds encoded replies, bounded by bytes, each exactly as valid
// as its stamp.
//
// A stamp says what an answer was computed from: the same stamp means the same
// answer. The caller reads the stamp of what it sees now and asks with it; an
// entry with another stamp is not an answer, whatever its age. The lifetime
// (TTL) is only an upper bound on top of that.
//
// Invariants
//
//  1. A value is returned only to a caller whose stamp equals the one the value
//     was loaded under, and never after its lifetime.
//  2. At most one load runs for a key and stamp. A caller whose context ends
//     leaves at once; the load ends early only when nobody waits any more.
//  3. A load that fails or panics is not remembered: the next caller loads again.
//  4. The bytes held never exceed the bound. A value larger than the bound is
//     handed to those who waited for it and forgotten.
//
// The package knows nothing of views, gRPC or Postgres.
package cache
