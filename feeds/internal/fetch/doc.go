// Package fetch asks upstreams over HTTP under the rules of conduct, whoever
// asks: one request at a time for each host, spacing, pauses after a refusal, an
// open circuit after failures, public addresses only, bodies of bounded size.
//
// Invariants
//
//  1. No key, token, crumb or e-mail address appears in an Error or a shown URL.
//  2. Headers of the caller go to the origin that they were meant for alone.
//  3. An address is checked after resolution, right before the connection.
package fetch
