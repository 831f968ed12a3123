package wire

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"unsafe"
	"weak"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/grpc/encoding"
	stock "google.golang.org/grpc/encoding/gzip" // clients may ask for gzip; the name is registered by the import
)

// Gzip compresses messages. gRPC hands a compressor the bytes of a message and
// nothing else, so a reply that many calls share is known by where its bytes are:
// it is compressed once, for the first call that asks.
type Gzip struct {
	writers, readers sync.Pool

	mu     sync.Mutex // guards shared
	shared map[weak.Pointer[byte]]*zipped
}

// zipped is the compressed form of a shared reply.
type zipped struct {
	size int // of the reply
	once sync.Once
	data []byte
}

// RegisterGzip takes the place of gRPC's own gzip. gRPC keeps compressors by name for
// the whole process: call it once, before anything else of gRPC.
func RegisterGzip() *Gzip {
	g := NewGzip()
	encoding.RegisterCompressor(g)
	return g
}

// NewGzip returns a Gzip that gRPC does not know.
func NewGzip() *Gzip { return &Gzip{shared: map[weak.Pointer[byte]]*zipped{}} }

// leastShared is the size below which compressing again costs less than to remember.
const leastShared = 1 << 10

// Share says that a message will be sent many times, and that its bytes never
// change. What is kept for it goes when the message goes. g may be nil.
func (g *Gzip) Share(raw []byte) {
	if g == nil || len(raw) < leastShared {
		return
	}
	p := unsafe.SliceData(raw)
	k := weak.Make(p)
	g.mu.Lock()
	g.shared[k] = &zipped{size: len(raw)}
	g.mu.Unlock()
	runtime.AddCleanup(p, g.forget, k)
}

func (g *Gzip) forget(k weak.Pointer[byte]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.shared, k)
}

// sharedForm returns what is kept for a shared message, nil for others.
func (g *Gzip) sharedForm(raw []byte) *zipped {
	if len(raw) < leastShared {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	z := g.shared[weak.Make(unsafe.SliceData(raw))]
	if z == nil || z.size != len(raw) {
		return nil
	}
	return z
}

// Name implements encoding.Compressor.
func (g *Gzip) Name() string { return stock.Name }

// Compress implements encoding.Compressor.
func (g *Gzip) Compress(w io.Writer) (io.WriteCloser, error) { return &zipper{g: g, to: w}, nil }

// Decompress implements encoding.Compressor.
func (g *Gzip) Decompress(r io.Reader) (io.Reader, error) {
	z, ok := g.readers.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	if err := z.Reset(r); err != nil {
		g.readers.Put(z)
		return nil, err
	}
	return &unzipper{z, g}, nil
}

// unzipper gives its reader back when gRPC closes it.
type unzipper struct {
	*gzip.Reader
	g *Gzip
}

// Close implements io.Closer.
func (u *unzipper) Close() error {
	err := u.Reader.Close()
	u.g.readers.Put(u.Reader)
	return err
}

// zipper compresses one message. A message that is written at once may be shared.
type zipper struct {
	g   *Gzip
	to  io.Writer
	gz  *gzip.Writer
	out bool // a shared form was written
}

// Write implements io.Writer.
func (z *zipper) Write(p []byte) (int, error) {
	if z.gz == nil {
		if s := z.g.sharedForm(p); s != nil {
			s.once.Do(func() {
				var b bytes.Buffer
				gz := z.g.writer(&b)
				_, _ = gz.Write(p) // to memory
				_ = gz.Close()
				z.g.writers.Put(gz)
				s.data = bytes.Clone(b.Bytes())
			})
			z.out = true
			_, err := z.to.Write(s.data)
			return len(p), err
		}
	}
	if z.gz == nil { // behind a shared form it makes another member of the gzip
		z.gz = z.g.writer(z.to)
	}
	return z.gz.Write(p)
}

// Close implements io.Closer.
func (z *zipper) Close() error {
	if z.gz == nil {
		if z.out {
			return nil
		}
		z.gz = z.g.writer(z.to) // of an empty message
	}
	err := z.gz.Close()
	z.g.writers.Put(z.gz)
	return err
}

func (g *Gzip) writer(to io.Writer) *gzip.Writer {
	gz, ok := g.writers.Get().(*gzip.Writer)
	if !ok {
		return gzip.NewWriter(to)
	}
	gz.Reset(to)
	return gz
}
