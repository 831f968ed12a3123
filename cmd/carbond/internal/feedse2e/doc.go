// Package feedse2e holds the tests that run the built program against upstreams
// on loopback: from what an upstream answers to what a client of the API reads,
// through Postgres and its log where there is one.
//
// Two kinds of upstreams stand in for the real ones: servers that replay the
// fixture files of the feeds' parsers byte for byte, whose rows are known from
// the golden files beside them, and the invented world of feeds/sample.
//
// What must hold:
//
//  1. What upstreams publish is at the API, row by row; an unchanged upstream
//     leaves no record in the changelog.
//  2. A hostile or broken answer (cut off, refused, a web page, endless, a bomb)
//     leaves the stored rows as they were, is told in the metrics and by
//     `carbond feeds`, and costs no memory that counts.
//  3. A dead feed delays no other and does not take the API down.
//  4. A restart forgets no validator, no pause of a host and no sweep.
//  5. No e-mail address that an upstream sends is kept or logged anywhere.
//
// The package has no code of its own.
package feedse2e
