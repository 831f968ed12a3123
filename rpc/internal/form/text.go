package form

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encoding is how an answer is compressed, in HTTP's words.
type Encoding string

// The encodings.
const (
	Identity Encoding = ""
	Gzip     Encoding = "gzip"
	Zstd     Encoding = "zstd"
)

// Text is an encoded answer. Its compressed forms are made for the first who asks
// and kept. Its methods may be called from any goroutine.
type Text struct {
	Raw  []byte
	Next string // token of the next page, "" at the end
	// Large is set in place of Raw for an answer that is too large to be kept.
	Large bool

	gzip, zstd compressed
}

type compressed struct {
	once sync.Once
	data []byte
}

// Size is what the text keeps alive once its compressed forms are made: they are a
// tenth to a fifth of it.
func (t *Text) Size() int { return len(t.Raw) + len(t.Raw)/2 }

// In returns the bytes in an encoding. Nobody changes them.
func (t *Text) In(e Encoding) []byte {
	var c *compressed
	switch e {
	case Gzip:
		c = &t.gzip
	case Zstd:
		c = &t.zstd
	default:
		return t.Raw
	}
	c.once.Do(func() {
		var b bytes.Buffer
		w := NewWriter(&b, e)
		_, _ = w.Write(t.Raw) // to memory
		_ = w.Close()
		c.data = bytes.Clone(b.Bytes())
	})
	return c.data
}

// NewWriter compresses to w. Close ends the stream, not w.
func NewWriter(w io.Writer, e Encoding) interface {
	io.WriteCloser
	Flush() error
} {
	switch e {
	case Gzip:
		return gzip.NewWriter(w)
	case Zstd:
		// One goroutine's work and a window of 1 MB: an answer is read by many at a time.
		z, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true)) // errs for wrong options only
		return z
	}
	return plain{w}
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
func (plain) Flush() error { return nil }
