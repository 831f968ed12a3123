// Package boltfile is what the store's bbolt files have in common, whatever is
// in them: segments, checkpoint and consumer groups.
package boltfile
