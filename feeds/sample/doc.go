// Package sample is a small invented world of carbon projects, share prices and
// headlines behind HTTP servers that answer as the real upstreams do. `carbond
// demo` runs it on loopback so that the real clients, parsers and schedulers
// work without a network; tests use it as the upstream that behaves, and make it
// misbehave one path at a time.
//
// Nothing in it is data: projects, holders, figures and headlines are invented,
// and every name and headline says SAMPLE DATA. Ticker symbols and outlet names
// are real identifiers, but nothing said about them here is true.
//
// Invariants
//
//  1. The world is a function of seed, start and time: two Worlds with equal
//     Options give equal answers at equal times, whoever asked what before.
//  2. Numbers add up as they do upstream: totalEntities counts the filtered
//     rows, an aggregate is the sum over the ledger that a search pages
//     through, and issued units never fall below retired and cancelled ones.
//  3. Answers keep the upstreams' traps: calls without the registry's headers
//     fail, a wrong standard is an empty page, unknown filters are ignored,
//     more than twenty symbols are refused, quotes want cookie and crumb.
//  4. A World is safe for concurrent use and starts no goroutine; Run does, and
//     ends them all before it returns.
package sample
