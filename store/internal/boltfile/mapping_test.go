package boltfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"carbond/store/internal/boltfile"
)

var bucket = []byte("b")

// seed writes a database of some 80 KiB, whose file has no room to spare.
func seed(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "full"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	path = filepath.Join(dir, "seed")
	if err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := 0; err == nil && i < 15; i++ {
			err = b.Put([]byte{byte(i)}, make([]byte, 3000))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *bolt.Tx) error { return tx.CopyFile(path, 0o600) }); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// outgrow makes the file longer than its mapping, which stays where it is.
func outgrow(t *testing.T, db *bolt.DB) {
	t.Helper()
	db.AllocSize = 64 << 10
	was, end, _ := region(t, db)
	if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put([]byte("more"), make([]byte, 3000)) }); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	if from, to, _ := region(t, db); from != was || to != end || fi.Size() <= int64(to-from) {
		t.Fatalf("a mapping of %d bytes (%d before) of a file of %d", to-from, end-was, fi.Size())
	}
}

// region returns the mapping of db and the bytes of it that are resident.
func region(t *testing.T, db *bolt.DB) (from, to uintptr, resident int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(maps)) {
		var a, b uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &a, &b); n == 2 {
			if inside = a <= db.Info().Data && db.Info().Data < b; inside {
				from, to = a, b
			}
		}
		if v, ok := strings.CutPrefix(line, "Rss:"); ok && inside {
			kb, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return from, to, kb << 10
		}
	}
	t.Fatal("no mapping of the database")
	return 0, 0, 0
}

// read touches every value.
func read(t *testing.T, db *bolt.DB, then func(*bolt.Tx)) {
	t.Helper()
	n := 0
	if err := db.View(func(tx *bolt.Tx) error {
		err := tx.Bucket(bucket).ForEach(func(_, v []byte) error {
			n += bytes.Count(v, []byte{0})
			return nil
		})
		then(tx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("nothing was read")
	}
}

func TestReleaseGivesBack(t *testing.T) {
	db := open(t, seed(t))
	read(t, db, func(*bolt.Tx) {})
	if _, _, rss := region(t, db); rss == 0 {
		t.Fatal("reading left nothing resident")
	}
	read(t, db, boltfile.Release)
	if _, _, rss := region(t, db); rss > os.Getpagesize() {
		t.Errorf("%d bytes stay resident", rss)
	}
	read(t, db, func(*bolt.Tx) {}) // what was given back is read again
}

// TestReleaseKeepsNeighbours: what lies behind the mapping is not the file's,
// though the file is longer.
func TestReleaseKeepsNeighbours(t *testing.T) {
	path, text := seed(t), []byte("somebody else's")
	for range 1000 { // until the kernel has no gap left that is nearer
		n, err := unix.Mmap(-1, 0, 128<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Munmap(n); err != nil {
				t.Error(err)
			}
		})
		copy(n, text)
		db := open(t, path)
		if _, end, _ := region(t, db); end != uintptr(unsafe.Pointer(&n[0])) {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		outgrow(t, db)
		read(t, db, boltfile.Release)
		if !bytes.HasPrefix(n, text) {
			t.Error("memory behind the mapping was dropped")
		}
		return
	}
	t.Fatal("no mapping came to lie before another one")
}
