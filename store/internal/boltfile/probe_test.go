package boltfile_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"carbond/store/internal/boltfile"
)

// build makes a file with branch pages, overflow pages, an inline bucket, and a
// free list or none.
func build(t *testing.T, freelist bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	db, err := bolt.Open(path, 0o640, &bolt.Options{NoFreelistSync: !freelist, PageSize: 4096, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // what is rewritten leaves free pages
		err = db.Update(func(tx *bolt.Tx) error {
			big, err := tx.CreateBucketIfNotExists([]byte("big"))
			if err != nil {
				return err
			}
			small, err := big.CreateBucketIfNotExists([]byte("small"))
			if err != nil {
				return err
			}
			for i := range 400 {
				if err := big.Put(fmt.Appendf(nil, "key %04d", i), make([]byte, 150*(i%40))); err != nil {
					return err
				}
			}
			return small.Put([]byte("k"), []byte("v"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProbe(t *testing.T) {
	for name, freelist := range map[string]bool{"with free list": true, "without": false} {
		if err := boltfile.Probe(build(t, freelist)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, empty + "-not"} {
		if err := boltfile.Probe(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Every page that bbolt would read is looked at: zeros in its place are found.
func TestProbeFinds(t *testing.T) {
	path := build(t, true)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o640, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[int]string{}
	if err := db.View(func(tx *bolt.Tx) error {
		for n := 2; ; n++ {
			p, err := tx.Page(n)
			if p == nil || err != nil {
				return err
			}
			kinds[n] = p.Type
			n += p.OverflowCount
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for n, kind := range kinds {
		b := append([]byte(nil), whole...)
		clear(b[n*4096 : n*4096+64])
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		err := boltfile.Probe(path)
		if kind == "free" {
			if err != nil {
				t.Errorf("free page %d: %v", n, err)
			}
			continue
		}
		found[kind]++
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("page %d:", n)) {
			t.Errorf("%s page %d: %v", kind, n, err)
		}
	}
	if found["branch"] == 0 || found["leaf"] == 0 || found["freelist"] == 0 {
		t.Errorf("pages %v: the test proves too little", found)
	}
}

// TestProbeIsAsStrictAsBolt damages the structure in small ways: what passes the
// probe must please bbolt's own check. Where bbolt has a free list to read, it
// reports what displeases it; without one it panics over the same.
func TestProbeIsAsStrictAsBolt(t *testing.T) {
	path := build(t, true)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := uint64(time.Now().UnixNano())
	t.Logf("seed %d", s)
	rng := rand.New(rand.NewPCG(s, 1))
	pages := len(whole) / 4096
	refused, passed := 0, 0
	rounds := 1500
	if testing.Short() {
		rounds = 400
	}
	for range rounds {
		b := append([]byte(nil), whole...)
		n := 2 + rng.IntN(pages-2)
		switch p := b[n*4096 : (n+1)*4096]; rng.IntN(4) {
		case 0: // header and first elements
			p[rng.IntN(256)] ^= 1 << rng.IntN(8)
		case 1: // a byte anywhere, keys too
			p[rng.IntN(len(p))] = byte(rng.Uint32())
		case 2: // another page, which says that it is this one
			copy(p[8:], b[(2+rng.IntN(pages-2))*4096+8:][:4096-8])
		case 3: // one element twice
			i, j := 16+16*rng.IntN(8), 16+16*rng.IntN(8)
			copy(p[i:i+16], p[j:j+16])
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		if boltfile.Probe(path) != nil {
			refused++
			continue
		}
		passed++
		db, err := bolt.Open(path, 0o640, &bolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatalf("page %d: %v", n, err)
		}
		if err := db.View(func(tx *bolt.Tx) error {
			var errs []error
			for err := range tx.Check() {
				if !strings.Contains(err.Error(), "unreachable unfreed") { // lost for use, and harmless
					errs = append(errs, err)
				}
			}
			return errors.Join(errs...)
		}); err != nil {
			t.Errorf("page %d: the probe let pass what bbolt finds: %v", n, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused < rounds/20 || passed < rounds/20 {
		t.Errorf("%d refused, %d passed: the test proves too little", refused, passed)
	}
}
