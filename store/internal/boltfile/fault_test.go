package boltfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// made creates a file of some 80 KiB and opens it.
func made(t *testing.T, o boltfile.Options) (f *boltfile.File, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "f")
	f, err := boltfile.Create(path, o, func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := 0; err == nil && i < 15; i++ {
			err = b.Put([]byte{byte(i)}, bytes.Repeat([]byte{byte(i)}, 3000))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

func readValues(f *boltfile.File) error {
	return f.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			if k[0] < 15 && bytes.Count(v, k) != 3000 {
				return fmt.Errorf("value %d is not whole", k[0])
			}
			return nil
		})
	})
}

func write(f *boltfile.File, k byte) error {
	return f.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put([]byte{k}, bytes.Repeat([]byte{k}, 3000)) })
}

// put gives a file its content back, as a disk that is well again.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o640); err != nil {
		t.Fatal(err)
	}
}

// A page that the disk does not give is an error that names the place, for who
// reads and who writes, and the file works on when the disk is well.
func TestFault(t *testing.T) {
	for name, left := range map[string]int64{"nothing is left": 0, "a meta page is left": 4096, "half is left": 40 << 10} {
		for kind, o := range map[string]boltfile.Options{"small map": {}, "large map": {Map: 1 << 20}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				f, path := made(t, o)
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, left); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					var e *boltfile.Error
					if err := readValues(f); !errors.As(err, &e) || !errors.Is(err, boltfile.ErrUnreadable) || e.File != path || e.Byte < left || e.Byte > 100<<10 {
						t.Fatalf("read: %v", err)
					}
				}
				// A write that touches nothing of what is gone may even work.
				if err := write(f, 20); err == nil && left == 0 {
					t.Fatal("written to a file that is gone")
				}
				put(t, path, content)
				if err := write(f, 21); err != nil {
					t.Fatal(err)
				}
				if err := readValues(f); err != nil {
					t.Fatal(err)
				}
				if errs := f.Check(); len(errs) > 0 {
					t.Fatal(errors.Join(errs...))
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if err := f.View(func(*bolt.Tx) error { return nil }); !errors.Is(err, change.ErrClosed) {
					t.Fatalf("after Close: %v", err)
				}
			})
		}
	}
}

// A disk that fails while a file is opened for writing gives an error, wherever
// bbolt is by then.
func TestFaultWhileOpening(t *testing.T) {
	f, path := made(t, boltfile.Options{NoSync: true})
	if err := errors.Join(write(f, 20), f.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	faults := 0
	for i := range 600 {
		cut := make(chan error, 1)
		go func() {
			for range i % 200 * 50 { // some 10 microseconds at most
				runtime.Gosched()
			}
			cut <- os.Truncate(path, 8192)
		}()
		f, err := boltfile.Open(path, boltfile.Options{NoSync: true})
		if err := <-cut; err != nil {
			t.Fatal(err)
		}
		if err == nil {
			_ = f.Close()
		} else if faults++; !errors.As(err, new(*boltfile.Error)) {
			t.Fatal(err)
		}
		put(t, path, content)
	}
	t.Logf("%d of 600 opens met the fault", faults)
}

// The same among readers who begin transactions all the time, so that faults hit
// every place of bbolt: nobody waits for ever for a lock that one has left.
func TestFaultUnderLoad(t *testing.T) {
	f, path := made(t, boltfile.Options{Map: 1 << 20, NoSync: true})
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop, seen := make(chan struct{}), make(chan struct{}, 64)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for {
				if err := readValues(f); errors.Is(err, boltfile.ErrUnreadable) {
					select {
					case seen <- struct{}{}:
					default:
					}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range 60 {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		<-seen
		if err := write(f, 20); err == nil {
			t.Fatal("written to a file that is gone")
		}
		put(t, path, content)
		if err := write(f, 21); err != nil {
			t.Fatal(err)
		}
	drain:
		for {
			select {
			case <-seen:
			default:
				break drain
			}
		}
	}
	close(stop)
	readers.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// A commit that the disk refuses leaves by the first error, and the next one
// begins from what the disk has.
func TestCommitFails(t *testing.T) {
	f, path := made(t, boltfile.Options{Map: 1 << 20, Grow: 4096})
	defer f.Close()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	}
	limit(64 << 10)
	var err error
	for k := byte(20); err == nil && k < 60; k++ {
		err = write(f, k)
	}
	limit(was.Cur)
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("write: %v", err)
	}
	if err := write(f, 61); err != nil {
		t.Fatal(err)
	}
	if errs := f.Check(); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	if f.Path() != path {
		t.Fatalf("path %s", f.Path())
	}
}

// Only Create begins a file: one that is empty, zeroed or gone is not taken for
// a new one.
func TestOpenBeginsNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(path string) error
		want   error
	}{
		"gone":   {os.Remove, os.ErrNotExist},
		"empty":  {func(path string) error { return os.Truncate(path, 0) }, boltfile.ErrEmpty},
		"zeroed": {func(path string) error { return os.WriteFile(path, make([]byte, 32<<10), 0o640) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, path := made(t, boltfile.Options{NoSync: true})
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := tc.damage(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			for _, o := range []boltfile.Options{{}, {ReadOnly: true}} {
				_, err := boltfile.Open(path, o)
				var e *boltfile.Error
				if err == nil || !errors.Is(err, tc.want) && tc.want != nil || tc.want != os.ErrNotExist && !errors.As(err, &e) {
					t.Fatalf("open: %v", err)
				}
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Fatal("the file was changed")
			}
		})
	}
}
