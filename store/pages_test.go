package store_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/store"
)

// TestDamagedPages damages a page of a file that a start opens for writing, or
// what it says of itself: Open and fsck return, and what either says names the
// file. bbolt looks at such pages on goroutines of its own, where a panic or a
// fault ends the process and a circle never ends.
func TestDamagedPages(t *testing.T) {
	dir, segs := aged(t)
	rng := rand.New(rand.NewPCG(seed(t), 9))
	const page = 4096
	for name, damage := range map[string]func(b []byte, n int){
		"zeros":  func(b []byte, n int) { clear(b[n*page : (n+1)*page]) },
		"noise":  func(b []byte, n int) { noise(rng, b[n*page:(n+1)*page]) },
		"header": func(b []byte, n int) { b[n*page+rng.IntN(64)] ^= 1 << rng.IntN(8) },
		"moved":  func(b []byte, n int) { copy(b[n*page:(n+1)*page], b[len(b)-page:]) },
		"cut":    func(b []byte, n int) { clear(b[n*page:]) },
	} {
		for _, file := range []string{segs[len(segs)-1], filepath.Join(dir, "checkpoint.db"), filepath.Join(dir, "groups.db")} {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for n := range min(len(whole)/page, 12) {
				work := t.TempDir()
				if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				rel, err := filepath.Rel(dir, file)
				if err != nil {
					t.Fatal(err)
				}
				b := append([]byte(nil), whole...)
				damage(b, n)
				if err := os.WriteFile(filepath.Join(work, rel), b, 0o640); err != nil {
					t.Fatal(err)
				}
				report, err := store.Check(work)
				if err != nil {
					t.Fatal(err)
				}
				s, err := store.Open(work, store.Options{NoSync: true})
				if err == nil {
					err = s.Close()
				}
				if err != nil && (!strings.Contains(err.Error(), work) || len(report.Problems) == 0) {
					t.Errorf("%s of page %d of %s: open: %v; fsck: %v", name, n, rel, err, report.Problems)
				}
			}
		}
	}
}

func noise(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}
