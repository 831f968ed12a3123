package wire_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"carbond/rpc/internal/wire"
)

// zip compresses the parts of a message.
func zip(t testing.TB, g *wire.Gzip, parts ...[]byte) []byte {
	var out bytes.Buffer
	z, err := g.Compress(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if n, err := z.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unzip(t testing.TB, b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func message(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rng.IntN(9))
	}
	return b
}

// TestGzip: what is compressed is what was written, shared or not, and a buffer
// that others write to is never taken for the shared message that it may hold a part of.
func TestGzip(t *testing.T) {
	g := wire.NewGzip()
	rng := rand.New(rand.NewPCG(1, 1))
	reply := message(rng, 50_000)
	g.Share(reply)
	other := message(rng, 50_000)
	for name, parts := range map[string][][]byte{
		"shared":          {reply},
		"a part of it":    {reply[:40_000]},
		"behind its head": {reply[1:]},
		"another":         {other},
		"none":            {},
		"empty":           {nil},
		"shared and more": {reply, other},
		"more and shared": {other, reply},
		"shared twice":    {reply, reply},
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				if got := unzip(t, zip(t, g, parts...)); !bytes.Equal(got, bytes.Join(parts, nil)) {
					t.Fatalf("%d bytes come back, not what was written", len(got))
				}
			}
		})
	}
	first := zip(t, g, reply)
	if n := testing.AllocsPerRun(20, func() { zip(t, g, reply) }); n > 12 {
		t.Errorf("%v allocations for a shared message", n)
	}
	r, err := g.Decompress(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, reply) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := r.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Decompress(bytes.NewReader([]byte("no gzip at all"))); err == nil {
		t.Error("no error for what is no gzip")
	}
}

// TestGzipShared: many calls may be the first.
func TestGzipShared(t *testing.T) {
	g := wire.NewGzip()
	rng := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		reply := message(rng, 5000)
		g.Share(reply)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if got := unzip(t, zip(t, g, reply)); !bytes.Equal(got, reply) {
					t.Errorf("%d bytes come back, not what was written", len(got))
				}
			})
		}
		all.Wait()
	}
}

// BenchmarkGzip compresses a reply of 360 kB.
func BenchmarkGzip(b *testing.B) {
	reply := message(rand.New(rand.NewPCG(3, 3)), 360_000)
	for _, name := range []string{"each time", "shared"} {
		b.Run(name, func(b *testing.B) {
			g := wire.NewGzip()
			if name == "shared" {
				g.Share(reply)
			}
			for b.Loop() {
				zip(b, g, reply)
			}
		})
	}
}
