// Package replicate tails a Postgres database by logical replication (pgoutput,
// protocol version 1) and hands its transactions to a Sink, which keeps them.
//
// Run connects, checks the server, creates what is missing when told to, copies
// the tables once inside the snapshot that the new slot exports, and streams
// from exactly there. It survives restarts of either side, and says by Status,
// log and metrics what is wrong and what repairs it.
//
// Place in the flow: Postgres -> replicate -> Sink (the store). The package
// knows the words of store/change and nothing else of carbond.
//
// Invariants
//
//  1. What is confirmed to Postgres is what Sink.Position has reported as
//     durable, never more, never less than before, never zero (internal/stream/progress.go).
//  2. The sink sees each source transaction whole and in commit order, a large
//     one as bounded parts. After any interruption the stream starts again at
//     the durable position, so the sink sees some transactions twice, but none
//     is left out.
//  3. One goroutine receives and decodes, one calls the sink, one looks at the
//     server from time to time. The first never waits for the sink without
//     answering the server.
//  4. Memory is bounded by Options.QueueBytes and Options.PartBytes, plus the
//     largest single row.
//  5. Every error names the thing and the remedy; none carries a password.
//
// See DESIGN.md for the reasons.
package replicate
