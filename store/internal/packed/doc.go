// Package packed keeps rows in the order of their keys, many to one string.
//
// A Tree is a copy-on-write B-tree of leaves. A leaf is one immutable string with
// up to leafItems rows, so the garbage collector sees one object without pointers
// where a tree of rows has one for each row and each key: its work, and the cost
// of every allocation with it, does not grow with the table. A changed row costs a
// new leaf, some kilobytes that are copied.
//
// Invariants
//
//  1. A Tree that was copied never changes: Copy costs the same at any size.
//  2. Leaves are never empty, and stand in the B-tree under their first key,
//     which shares memory with the leaf, so that nothing keeps an older leaf.
//  3. A large row has a leaf of its own and is not copied.
//
// What a Tree gives out shares memory with a whole leaf. Who keeps a key or a
// row for long clones it.
package packed
