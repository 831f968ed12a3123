// Package console is the pages of the daemon for people: what the market does, what is
// in the changelog, and how the daemon is.
//
// Invariants
//
//  1. A page is whole without JavaScript. With it, the daemon tells which parts have
//     changed: it makes the page again, compares, and sends what differs, a little at
//     a time.
//  2. Rows come from the handlers of the API, called in the process: what a page shows
//     is what a client gets, from the same cache.
//  3. Nothing but this package's own files is loaded by a page, and no style or script
//     stands inside it.
//  4. What comes from elsewhere is escaped, set apart from the direction of the text
//     around it, and cut; a link is one only when it leads to the web.
//  5. A row that somebody reads does not move: a live page changes what is in a row that
//     is not in use, and asks before it changes which rows there are.
//
// It knows no stage: the daemon passes what reports and what answers.
package console
