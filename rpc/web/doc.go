// Package web is the HTTP API: the lists, details, histories and topics of the gRPC
// services for people who have curl, a spreadsheet or a browser.
//
// Invariants
//
//  1. A call passes the admission of gRPC: the same tokens, rates, shares and counts.
//  2. Rows come from the same snapshots and the same cache, in the order of the same
//     definitions: what a view gains appears here by itself.
//  3. Equal ETags mean equal bytes, and a caller who has them costs no encoding.
//  4. Nothing is held for a client beyond a bounded answer: what is larger is written
//     as it is read, and one that does not read is cut off.
//  5. What changes something is asked for by POST, and from a browser only by a page of
//     this listener.
package web
