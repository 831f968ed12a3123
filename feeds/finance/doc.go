// Package finance reads the answers of Yahoo Finance (spark, chart, quote and
// crumb) into quote rows, builds the requests that ask for them, and knows when
// the New York market is open.
//
// Everything here is pure: bytes and a time in, rows or a named error out. It
// opens no connection, reads no clock and starts no goroutine; package feeds
// does the fetching, pausing and writing. Yahoo's terms limit reuse to personal
// use, so callers keep this package behind an interface that a licensed source
// can fill with the same Result.
//
// Invariants
//
//  1. A Row always has a ticker that was asked for, a price above zero and the
//     market's own time of that price. Volume and ChangePercent are nil when
//     the answer does not give them; nothing is guessed, and no figure is
//     carried from one field into another.
//  2. One odd entry never spoils its neighbours: it is left out and named in
//     Skipped. An answer that as a whole is not what was asked for gives one of
//     the named errors and no Result.
//  3. A ticker appears at most once in Rows; of several copies the newest by
//     market time stays.
//  4. Prices are in one currency (USD unless the caller says otherwise), since
//     the table has no currency column.
//  5. No body text appears in an error except Yahoo's own short error code. The
//     URL of a quote request carries the crumb: callers redact the query
//     parameter "crumb" before they log a URL.
package finance
