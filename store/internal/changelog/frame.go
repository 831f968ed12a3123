package changelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// A frame is how a block stands in a segment:
//
//	0   1  version, 1
//	1   1  flags: bit 0 = payload is zstd, bit 1 = the payload lacks changes that were taken out
//	2   4  CRC-32C, big-endian, over the key and everything behind this field
//	6   .  uvarint number of changes
//	.   .  uvarint bytes of the payload before compression
//	.   .  payload
const (
	frameVersion  = 1
	frameZstd     = 1
	frameStripped = 2
	frameHead     = 6
	// maxPayload bounds what one damaged or hostile frame can make us allocate.
	maxPayload = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeFrame builds the frame of a block stored under key.
func encodeFrame(key []byte, b Block) []byte {
	return buildFrame(key, b.Count, len(b.Data), b.Data, 0)
}

// encodeFrames builds the frames of blocks. The encoder of those that are to be
// compressed lives for the call: it takes more memory than they do, and there are
// seldom any.
func encodeFrames(blocks []Block) (frames [][]byte, err error) {
	var enc *zstd.Encoder
	for _, b := range blocks {
		key := offsetKey(b.First)
		f := b.frame
		if f == nil {
			f = encodeFrame(key, b)
		}
		if b.Compress {
			if enc == nil {
				if enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
					return nil, err
				}
				defer enc.Close()
			}
			if f, err = compressFrame(key, f, enc); err != nil {
				return nil, err
			}
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// buildFrame builds a frame of count changes whose payload has size bytes
// before compression.
func buildFrame(key []byte, count, size int, payload []byte, flags byte) []byte {
	f := make([]byte, frameHead, frameHead+2*binary.MaxVarintLen64+len(payload))
	f[0], f[1] = frameVersion, flags
	f = binary.AppendUvarint(f, uint64(count))
	f = binary.AppendUvarint(f, uint64(size))
	f = append(f, payload...)
	binary.BigEndian.PutUint32(f[2:], frameSum(key, f))
	return f
}

func frameSum(key, f []byte) uint32 {
	sum := crc32.Update(0, castagnoli, key)
	sum = crc32.Update(sum, castagnoli, f[:2])
	return crc32.Update(sum, castagnoli, f[frameHead:])
}

// decodeFrame checks a frame and returns its block. Data shares memory with f
// unless it was compressed.
func decodeFrame(key, f []byte, dec *zstd.Decoder) (Block, error) {
	if len(key) != 8 {
		return Block{}, fmt.Errorf("key has %d bytes, want 8", len(key))
	}
	b := Block{First: change.Offset(binary.BigEndian.Uint64(key))}
	if len(f) < frameHead {
		return b, fmt.Errorf("frame has only %d bytes", len(f))
	}
	if f[0] > frameVersion {
		return b, fmt.Errorf("frame version %d: %w", f[0], ErrTooNew)
	}
	if binary.BigEndian.Uint32(f[2:]) != frameSum(key, f) {
		return b, boltfile.ErrChecksum
	}
	if f[0] != frameVersion || f[1]&^(frameZstd|frameStripped) != 0 {
		return b, fmt.Errorf("unknown frame version %d or flags %#x", f[0], f[1])
	}
	rest := f[frameHead:]
	count, n := binary.Uvarint(rest)
	if n <= 0 {
		return b, errors.New("frame has no count")
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > maxPayload || count == 0 || count > maxPayload || count > size && f[1]&frameStripped == 0 {
		return b, errors.New("frame size out of range")
	}
	rest = rest[n:]
	if f[1]&frameZstd != 0 {
		if dec == nil {
			return b, errors.New("compressed frame in an open segment")
		}
		out, err := dec.DecodeAll(rest, make([]byte, 0, size))
		if err != nil {
			return b, fmt.Errorf("decompress: %w", err)
		}
		rest = out
	}
	if uint64(len(rest)) != size {
		return b, fmt.Errorf("payload has %d bytes, want %d", len(rest), size)
	}
	b.Count, b.Data = int(count), rest
	return b, nil
}

func offsetKey(o change.Offset) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(o))
}
