// Package record is the codec between changes and the bytes of a changelog
// block. It knows types and bytes, and neither files nor the meaning of a
// change. FORMAT.md in the store folder has the byte tables.
//
// A block is a run of records with consecutive offsets. It describes itself:
// when it begins inside a transaction, its head repeats what the transaction's
// begin said, so any block can be read alone. Relations are named by numbers
// that the segment's dictionary explains.
package record
