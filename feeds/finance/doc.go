// Package finance reads the answers of Yahoo Finance (spark, chart, quote and
// crumb) into quote rows, builds the requests that ask for them, and knows when
// the New York market is open.
//
// The parsers are pure: bytes and a time in, rows or a named error out. The
// Poller asks through the Cycle that it is given and starts nothing. Yahoo's
// terms limit reuse to personal use: a licensed source can take its place as a
// Provider.
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
//  4. Prices are in the currency that the upstream names, pence and cents
//     included; nothing is converted.
//  5. No body text appears in an error except Yahoo's own short error code. The
//     URL of a quote request carries the crumb: callers redact the query
//     parameter "crumb" before they log a URL.
package finance
