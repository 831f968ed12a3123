package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"carbond/store/change"
)

// Block is a run of Count changes whose first has offset First.
type Block struct {
	First change.Offset
	Count int
	Data  []byte
	// Compress has the block stored compressed where that makes it smaller.
	Compress bool

	frame []byte // that Data is the end of; nil when it has to be built
}

// NewBlock returns a block of count changes, for which data is copied.
func NewBlock(first change.Offset, count int, data []byte) Block {
	b := Block{First: first, Count: count, Data: data}
	b.frame = encodeFrame(offsetKey(first), b)
	b.Data = b.frame[len(b.frame)-len(data):]
	return b
}

// Last returns the offset of the block's last change.
func (b Block) Last() change.Offset { return b.First + change.Offset(b.Count) - 1 }

// Tail is what every Append replaces, in the same commit as its blocks.
type Tail struct {
	Next    change.Offset // offset of the next change, visible or not
	Visible change.Offset // high-water mark: the last change that readers may see
	State   []byte        // the caller's words about Visible, opaque here
	// Topics are the caller's words about single topics, opaque here: in an Append
	// those that it replaces, elsewhere nil.
	Topics map[string][]byte
}

func encodeTail(t Tail) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Next))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Visible))
	return append(b, t.State...)
}

func decodeTail(v []byte) (Tail, error) {
	v, err := unprotect(v)
	if err != nil {
		return Tail{}, fmt.Errorf("tail: %w", err)
	}
	return parseTail(v)
}

func parseTail(v []byte) (Tail, error) {
	if len(v) < 16 {
		return Tail{}, errors.New("tail is cut short")
	}
	t := Tail{
		Next:    change.Offset(binary.BigEndian.Uint64(v)),
		Visible: change.Offset(binary.BigEndian.Uint64(v[8:])),
		State:   append([]byte(nil), v[16:]...),
	}
	if t.Next == 0 || t.Visible >= t.Next {
		return Tail{}, fmt.Errorf("tail is impossible: next %d, visible %d", t.Next, t.Visible)
	}
	return t, nil
}

// header: format number, first offset, tail at the start. Format 1 has the same
// layout; its segments say nothing of the log's history.
func encodeHeader(first change.Offset, t Tail) []byte {
	b := binary.BigEndian.AppendUint32(nil, FormatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(first))
	return append(b, encodeTail(t)...)
}

func decodeHeader(v []byte) (change.Offset, Tail, error) {
	// The format number comes before the checksum's verdict, so that a newer
	// layout is told from damage.
	if len(v) >= 8 {
		if f := binary.BigEndian.Uint32(v[4:]); f > FormatVersion && f < 1<<16 {
			return 0, Tail{}, fmt.Errorf("segment format %d: %w", f, ErrTooNew)
		}
	}
	v, err := unprotect(v)
	if err != nil {
		return 0, Tail{}, fmt.Errorf("header: %w", err)
	}
	if len(v) < 12 || binary.BigEndian.Uint32(v) == 0 || binary.BigEndian.Uint32(v) > FormatVersion {
		return 0, Tail{}, errors.New("header is not one of carbond's")
	}
	tail, err := parseTail(v[12:])
	return change.Offset(binary.BigEndian.Uint64(v[4:])), tail, err
}

// Flags of a seal.
const (
	sealZstd     = 1 // the payloads are compressed where that makes them smaller
	sealStripped = 2 // blocks lack changes that Strip took out
)

// seal: number of blocks, last offset, CRC-32C over all frames in order, flags.
type seal struct {
	blocks uint64
	last   change.Offset
	sum    uint32
	flags  byte
}

func encodeSeal(s seal) []byte {
	b := binary.BigEndian.AppendUint64(nil, s.blocks)
	b = binary.BigEndian.AppendUint64(b, uint64(s.last))
	return append(binary.BigEndian.AppendUint32(b, s.sum), s.flags)
}

func decodeSeal(v []byte) (seal, error) {
	v, err := unprotect(v)
	if err != nil {
		return seal{}, fmt.Errorf("seal: %w", err)
	}
	if len(v) != 21 || v[20]&^(sealZstd|sealStripped) != 0 {
		return seal{}, errors.New("seal is not one of carbond's")
	}
	return seal{binary.BigEndian.Uint64(v), change.Offset(binary.BigEndian.Uint64(v[8:])), binary.BigEndian.Uint32(v[16:]), v[20]}, nil
}

// NoSpace reports whether the file system is full or refuses writes: trouble of
// the machine, not damage of the file.
func NoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) ||
		errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENOMEM)
}
