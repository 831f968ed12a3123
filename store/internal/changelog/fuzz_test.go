package changelog

import (
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzFrame feeds foreign bytes, with a right checksum, to everything that reads
// the values of a segment: errors, never panics.
func FuzzFrame(f *testing.F) {
	key := offsetKey(7)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<20))
	if err != nil {
		f.Fatal(err)
	}
	plain := Block{First: 7, Count: 2, Data: []byte("some changes, some changes, some changes")}
	f.Add(encodeFrame(key, plain))
	f.Add(buildFrame(key, 2, len(plain.Data), enc.EncodeAll(plain.Data, nil), frameZstd))
	f.Add(encodeTail(Tail{Next: 9, Visible: 8, State: []byte("{}")}))
	f.Add(encodeHeader(9, Tail{Next: 9, Visible: 8}))
	f.Add(encodeSeal(seal{blocks: 1, last: 8, sum: 3, flags: sealZstd}))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeFrame(key, b, dec)
		_, _ = decodeTail(protect(b))
		_, _, _ = decodeHeader(protect(b))
		_, _ = decodeSeal(protect(b))
		_, _ = unprotect(b)
		if len(b) < frameHead {
			return
		}
		f := append([]byte(nil), b...)
		f[0], f[1] = frameVersion, f[1]&frameZstd
		sum := frameSum(key, f)
		f[2], f[3], f[4], f[5] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		// A claim of a huge payload allocates it: it is bounded by maxPayload, and
		// here by what is worth fuzzing.
		if got, err := decodeFrame(key, f, nil); err == nil && (got.Count <= 0 || got.First != 7) {
			t.Fatalf("got %+v", got)
		}
	})
}
