// Package sample is an invented world of carbon projects, credits for sale, share
// prices and headlines behind HTTP servers that answer as the real upstreams do. `carbond
// demo` runs it on loopback so that the real clients, parsers and schedulers
// work without a network; tests use it as the upstream that behaves, and make it
// misbehave one path at a time.
//
// Nothing in it is data: projects, holders, figures, outlets and headlines are invented,
// and every name and headline says SAMPLE DATA. Ticker symbols and codes of methodologies
// are real identifiers, but nothing said about them here is true.
//
// It looks like the market: credits are dearer by kind and youth, facts and vintages are
// missing here and there, shares trade in the hours of New York, and stories come every
// few minutes on a working day, fewer at other times. Options.Speed makes it hurry.
//
// Invariants
//
//  1. The world is a function of seed, start, speed and time: two Worlds with equal
//     Options give equal answers at equal times, whoever asked what before.
//  2. Numbers add up as they do upstream: totalEntities counts the filtered
//     rows, an aggregate is the sum over the ledger that a search pages
//     through, and issued units never fall below retired and cancelled ones.
//  3. Answers keep the upstreams' traps: calls without the registry's headers
//     fail, a wrong standard is an empty page, unknown filters are ignored,
//     more than twenty symbols are refused, quotes want cookie and crumb.
//  4. A World does not grow: what it holds is bounded by projects, vintages and outlets.
//  5. A World is safe for concurrent use and starts no goroutine; Run does, and
//     ends them all before it returns.
package sample
