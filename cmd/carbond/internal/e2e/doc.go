// Package e2e holds the tests that run the built program as its users do: as a
// process of its own, with a real Postgres in front and real clients behind.
//
// The oracle test (oracle_test.go) lets a seeded random writer change the four
// tables over several connections while the daemon, Postgres and the connection
// between them are stopped, killed, frozen and cut. What must hold then:
//
//  1. Each view, whole and under each filter, equals its SQL row by row, from
//     memory and by the NonStreaming calls, at pauses and at the end.
//  2. The changelog holds each committed change exactly once, whole and in
//     commit order. The record it is compared with is made inside Postgres, by
//     row triggers and a second replication slot.
//  3. The slot's confirmed position is never ahead of what is durable.
//  4. The data directory passes fsck after every end of the daemon, and a
//     replay of the log alone leads to the same state.
//
// TestUpheavals (upheaval_test.go) changes the tables themselves under the same
// writers: renamed away and back, rewritten, their leaves and enum values replaced,
// keys moved over each other. Much of that the stream does not tell, so there the
// views, and the tables that the log leads to by key, must come to equal SQL.
//
// TestPostgresFaults takes both in many short runs: the last part of `make faults`.
//
// Flags: -event NAME lets one thing happen again and again, -seed N repeats a run's choices (the interleaving of processes stays
// the machine's), -for D writes for so long, -long means ten minutes.
//
// The package has no code of its own.
package e2e
