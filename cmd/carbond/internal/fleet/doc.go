// Package fleet lets several carbonds that tail one Postgres serve as one.
//
// Postgres gives every replication slot the same commits in the same order. Nodes that
// begin from one backup and read each a slot of their own therefore hold the same
// changelog: equal offsets, equal history, equal views. Nobody leads, and nothing is
// elected. What this package adds:
//
//   - Join gives a node without data the directory of a peer, so that it does not copy the
//     tables by itself, which would begin another history.
//   - Member compares the node with its peers every few seconds, by a checksum over the
//     records of the changelog, and names the first offset that differs. Who is alone
//     with its changelog stops being ready and joins again.
//
// Invariants
//
//  1. The directory of a peer is taken only when its position is at or beyond the place
//     where the node's slot begins: no change is between them.
//  2. What a node holds is given up only when a peer's backup is whole and checked.
//  3. A node steps back only for more peers than agree with it. Of two that differ nobody
//     knows which is wrong: both say so.
package fleet
