// Package view holds the rows of the source tables and answers the three
// views from them. It is pure: no files, no goroutines, no clock.
//
// A State is a set of copy-on-write B-trees. One writer changes its State;
// Copy gives readers a version that never changes again, at a cost that does
// not depend on the number of rows. Nothing of a view is stored twice: a view
// row is a function of the source rows and the indexes, so the work of a change
// is proportional to the change.
//
// Invariants
//
//  1. Answers equal the SQL of the contract, row by row, in the same order;
//     text order is byte order.
//  2. Every index is a function of the rows, and is rebuilt from them.
//  3. Version(v, filter) grows with every change of a row that the answer for
//     that filter reads, before the change can be seen.
package view
