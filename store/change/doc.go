// Package change holds the words that every stage of carbond shares: log
// sequence numbers, offsets, relations, rows, changes and transactions, and the
// typed rows of the three views.
//
// It imports only the standard library and performs no I/O, so that replicate,
// store, rpc and feeds can meet here without knowing each other.
//
// Invariants
//
//  1. An LSN is a byte position in the WAL of one Postgres cluster; an Offset
//     is a position in carbond's own changelog. Neither is ever computed from
//     the other, and no payload length is ever added to an LSN.
//  2. A Row is immutable once built. It carries column values in Postgres text
//     form, in the order of its Relation's columns, so NaN, infinity and types
//     that carbond has never heard of survive unharmed.
//  3. A Txn with Final set ends at EndLSN; only EndLSN (the commit end, not the
//     commit record) is a position that may be acknowledged to Postgres.
//  4. Tables and views are described here once (tables, Projects, NewsItems,
//     Quotes). A column is one line of a table, one field and one line of a view,
//     and one field of the proto file: SQL, messages, view files, commands,
//     migrations and the rows of the state follow from that.
package change
