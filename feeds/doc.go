// Package feeds fills carbond by itself: it polls the Verra registry,
// Carbonmark, a finance provider and news feeds, and hands what they publish to
// a Writer, which is a Postgres (feeds/postgres) or the store itself.
//
// Place in the flow: feeds -> Postgres -> replicate -> store, or, without a
// Postgres, feeds -> store. The parsers live in the sub-packages (verra,
// carbonmark, finance, news): pure functions from bytes to rows. This package
// owns everything with a clock or a socket: when to ask, how to ask, what to do
// with an answer.
//
// Invariants
//
//  1. One request at a time per host, never faster than the host's spacing, and
//     none while the host is paused (429) or its circuit is open.
//  2. Memory is bounded whatever an upstream sends: bodies are cut off at a
//     limit that counts decompressed bytes, headers and redirects are limited.
//  3. A host on a private network is reached only when a configured URL names
//     it, never by a redirect, a discovered URL or the DNS answer of a public name.
//  4. A failed poll leaves the stored data as it was. Validators and marks are
//     kept only after the rows that they stand for have been written.
//  5. A row that upstream no longer lists is deleted only after three complete
//     sweeps without it, and only if these feeds had written it.
//  6. Values that no upstream gives stay unset.
//  7. No key, token, crumb or e-mail address appears in a log line, an error or
//     a shown URL.
//  8. One goroutine per source: a dead source delays no other.
package feeds
