package record

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"carbond/store/change"
)

// Checksum returns that of a log up to a change, from that of the log before it: of what
// the change says, and of nothing that depends on how changes were grouped into commits
// and blocks, nor on the numbers of relations. Two logs with one checksum at one
// offset have had the same changes since they had one before.
func Checksum(before uint64, at change.Offset, rel *change.Relation, t *Txn, e *Entry) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(before)
	var head [33]byte
	binary.BigEndian.PutUint64(head[0:], uint64(at))
	binary.BigEndian.PutUint64(head[8:], uint64(t.CommitLSN))
	binary.BigEndian.PutUint64(head[16:], uint64(len(e.Before)))
	binary.BigEndian.PutUint64(head[24:], uint64(len(rel.Schema))<<32|uint64(len(rel.Name)))
	head[32] = byte(e.Op)
	_, _ = d.Write(head[:])
	_, _ = d.WriteString(rel.Schema)
	_, _ = d.WriteString(rel.Name)
	_, _ = d.WriteString(string(e.Before))
	_, _ = d.WriteString(string(e.After))
	return d.Sum64()
}
