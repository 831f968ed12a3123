// Package text turns foreign text into text that carbond may store: without
// markup, control characters, zero-width characters or e-mail addresses, in
// valid UTF-8, within a limit, and with one spelling per country.
//
// Invariants
//
//  1. Every result is valid UTF-8 without NUL, so Postgres takes it.
//  2. Clean(Clean(s, n), n) == Clean(s, n) for text without markup; a result
//     never exceeds its limit, in characters.
//  3. Work is bounded by the input; reading stops once the limit is reached.
//  4. Country never invents: what the table does not know comes back cleaned,
//     otherwise as it was.
package text
