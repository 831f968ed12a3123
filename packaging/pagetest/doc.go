// Package pagetest uses the HTTP listener with what people have. With a real browser:
// axe-core finds nothing to say against any page, in light, in dark and on a narrow
// screen, in health and in trouble (Postgres away, a full disk, a feed that fails, a
// daemon that was killed); a page is whole without its script and fresh with it; and it
// obeys its own content security policy. With EventSource in Node, pandas and DuckDB:
// what they read is what there is, once.
//
// It has a module of its own, so that nothing of it reaches the program.
package pagetest
