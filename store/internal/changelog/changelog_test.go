package changelog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"carbond/store/change"
	"carbond/store/internal/changelog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, opt changelog.Options) *changelog.Log {
	t.Helper()
	opt.NoSync = true
	l, err := changelog.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// add appends one block of n changes; visible or not. One of an even number is
// compressed.
func add(t testing.TB, l *changelog.Log, n int, visible bool) {
	t.Helper()
	tail := l.Tail()
	b := changelog.Block{First: tail.Next, Count: n, Data: fmt.Appendf(nil, "block at %060d", tail.Next), Compress: n%2 == 0}
	next := changelog.Tail{Next: tail.Next + change.Offset(n), Visible: tail.Visible, State: tail.State}
	if visible {
		next.Visible, next.State = next.Next-1, fmt.Appendf(nil, "state %d", next.Next-1)
	}
	if err := l.Append([]changelog.Block{b}, map[uint32][]byte{uint32(tail.Next): []byte("word")}, next); err != nil {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, l *changelog.Log, from change.Offset) (offsets []change.Offset) {
	t.Helper()
	for {
		blocks, err := l.Read(from, 200)
		if err != nil {
			t.Fatal(err)
		}
		if len(blocks) == 0 {
			return offsets
		}
		for _, b := range blocks {
			if want := fmt.Sprintf("block at %060d", b.First); string(b.Data) != want {
				t.Fatalf("got %q, want %q", b.Data, want)
			}
			offsets = append(offsets, b.First)
			from = b.Last() + 1
		}
	}
}

// TestAgainstModel drives a log with random appends, invisible or not, cuts,
// rotations, drops, reopens and new histories, beside a slice that says what must
// be there.
func TestAgainstModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := filepath.Join(dir, fmt.Sprint(n))
		first := change.Offset(rapid.IntRange(1, 50).Draw(t, "first"))
		o := changelog.Options{First: first, SegmentBytes: 600, OpenSealed: 2, NoSync: true}
		l, err := changelog.Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { l.Close() }()
		var blocks []change.Offset // visible, kept
		var pending []change.Offset
		lost := change.Offset(0)           // offsets up to here are dropped
		ends := []change.Offset{0}         // of the histories before
		begins := []change.Offset{o.First} // of the histories, one more
		var floor change.Offset            // below which blocks are stripped
		check := func() {
			from := l.Oldest()
			if got := l.History().Before(l.Floor()); got != max(l.History().Before(floor), l.History().Before(from)) {
				t.Fatalf("nothing is stripped behind %d, want %d of %d", got, floor, from)
			}
			if lost == 0 {
				from = 1 // the log has its beginning, wherever that is
			}
			var got []change.Offset
			for {
				bs, err := l.Read(from, 50)
				if err != nil {
					t.Fatal(err)
				}
				if len(bs) == 0 {
					break
				}
				for _, b := range bs {
					if want := "some payload"; b.First >= floor && len(b.Data) < 100 || b.First < floor && string(b.Data) != want {
						t.Fatalf("block at %d holds %q, and those before %d are stripped", b.First, b.Data, floor)
					}
					got = append(got, b.First)
					from = b.Last() + 1
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(blocks) {
				t.Fatalf("got %v, want %v", got, blocks)
			}
			if lost > 0 {
				var gone *change.CompactedError
				if _, err := l.Read(lost, 50); !errors.As(err, &gone) || gone.Oldest != l.Oldest() || gone.Oldest <= lost {
					t.Fatalf("read of a dropped offset: %v", err)
				}
			}
			for i, begin := range begins {
				var other *change.HistoryError
				if _, err := l.Read(begin-1, 50); begin-1 > ends[i]+1 && !errors.As(err, &other) {
					t.Fatalf("read inside the hole before %d: %v", begin, err)
				}
			}
			back := []change.Offset{}
			for last := l.Tail().Visible; len(back) < len(blocks); {
				bs, err := l.ReadBack(last, 50)
				if err != nil {
					t.Fatalf("read back from %d: %v", last, err)
				}
				for _, b := range bs {
					back, last = append(back, b.First), l.History().Before(b.First)
				}
			}
			if slices.Reverse(back); fmt.Sprint(back) != fmt.Sprint(blocks) {
				t.Fatalf("backwards %v, want %v", back, blocks)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				tail := l.Tail()
				vis := rapid.Bool().Draw(t, "visible")
				cnt := rapid.IntRange(1, 5).Draw(t, "count")
				next := changelog.Tail{Next: tail.Next + change.Offset(cnt), Visible: tail.Visible, State: tail.State}
				pending = append(pending, tail.Next)
				if vis {
					next.Visible = next.Next - 1
					blocks, pending = append(blocks, pending...), nil
				}
				if err := l.Append([]changelog.Block{{First: tail.Next, Count: cnt, Data: bytes.Repeat([]byte("some payload"), 10)}}, nil, next); err != nil {
					t.Fatal(err)
				}
			},
			"rotate": func(t *rapid.T) {
				if err := l.Rotate(); err != nil {
					t.Fatal(err)
				}
			},
			"cut": func(t *rapid.T) {
				if err := l.Rollback(); err != nil {
					t.Fatal(err)
				}
				pending = nil
			},
			"compress": func(t *rapid.T) {
				if _, err := l.Compress(); err != nil {
					t.Fatal(err)
				}
			},
			"strip": func(t *rapid.T) {
				segs := l.Segments()
				i := slices.IndexFunc(segs, func(g changelog.Segment) bool { return g.Last >= floor })
				if i < 0 || !segs[i].Sealed || segs[i].Last > l.Tail().Visible {
					t.Skip("nothing to strip")
				}
				for range 2 { // again it does nothing
					if err := l.Strip(segs[i].First, func(b changelog.Block) ([]byte, error) { return b.Data[:len("some payload")], nil }); err != nil {
						t.Fatal(err)
					}
				}
				floor = l.History().After(segs[i].Last)
			},
			"reopen": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = changelog.Open(dir, o); err != nil {
					t.Fatal(err)
				}
				pending = nil
			},
			"fork": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if l, err = changelog.Open(dir, o); err != nil {
					t.Fatal(err)
				}
				pending = nil
				old := l.History()
				begin := l.Tail().Next + change.Offset(rapid.IntRange(1, 20).Draw(t, "hole"))
				if err := l.Fork(begin); err != nil {
					t.Fatal(err)
				}
				h := l.History()
				if n := len(h.Parents); h.ID == old.ID || h.First != begin || n != len(old.Parents)+1 || h.Parents[n-1].ID != old.ID || h.Parents[n-1].Last != l.Tail().Visible {
					t.Fatalf("history %+v after %+v", h, old)
				}
				ends, begins = append(ends, l.Tail().Visible), append(begins, begin)
			},
			"drop": func(t *rapid.T) {
				segs := l.Segments()
				if len(segs) < 2 || segs[0].Last > l.Tail().Visible {
					t.Skip("nothing to drop")
				}
				if err := l.DropOldest(); err != nil {
					t.Fatal(err)
				}
				lost = segs[0].Last
				for len(blocks) > 0 && blocks[0] <= lost {
					blocks = blocks[1:]
				}
			},
			"": func(t *rapid.T) { check() },
		})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, errs := changelog.Check(dir, nil); len(errs) > 0 {
			t.Fatal(errors.Join(errs...))
		}
	})
}

func TestReadersDuringRotationAndDrop(t *testing.T) {
	l := open(t, t.TempDir(), changelog.Options{SegmentBytes: 2000, OpenSealed: 1})
	defer l.Close()
	add(t, l, 1, true)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			from := change.Offset(1)
			for {
				select {
				case <-stop:
					return
				default:
				}
				blocks, err := l.Read(from, 200)
				var gone *change.CompactedError
				switch {
				case errors.As(err, &gone):
					from = gone.Oldest
				case err != nil:
					t.Error(err)
					return
				case len(blocks) == 0:
					from = l.Oldest()
				default:
					if blocks[0].First > from {
						t.Errorf("asked for %d, got %d", from, blocks[0].First)
						return
					}
					from = blocks[len(blocks)-1].Last() + 1
				}
			}
		})
	}
	for i := range 300 {
		add(t, l, 1+i%3, true)
		if l.Full() {
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Compress(); err != nil {
				t.Fatal(err)
			}
		}
		if segs := l.Segments(); len(segs) > 4 {
			if err := l.DropOldest(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestRefusesGaps(t *testing.T) {
	l := open(t, t.TempDir(), changelog.Options{})
	defer l.Close()
	add(t, l, 3, true)
	tests := map[string]struct {
		block changelog.Block
		tail  changelog.Tail
	}{
		"gap":              {changelog.Block{First: 5, Count: 1, Data: []byte("x")}, changelog.Tail{Next: 6, Visible: 5}},
		"overlap":          {changelog.Block{First: 3, Count: 1, Data: []byte("x")}, changelog.Tail{Next: 4, Visible: 3}},
		"empty block":      {changelog.Block{First: 4, Count: 0, Data: []byte("x")}, changelog.Tail{Next: 4, Visible: 3}},
		"tail beyond":      {changelog.Block{First: 4, Count: 1, Data: []byte("x")}, changelog.Tail{Next: 9, Visible: 4}},
		"hidden again":     {changelog.Block{First: 4, Count: 1, Data: []byte("x")}, changelog.Tail{Next: 5, Visible: 2}},
		"visible too much": {changelog.Block{First: 4, Count: 1, Data: []byte("x")}, changelog.Tail{Next: 5, Visible: 5}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if err := l.Append([]changelog.Block{tc.block}, nil, tc.tail); err == nil {
				t.Fatal("appended")
			}
		})
	}
	if got := readAll(t, l, 1); len(got) != 1 {
		t.Fatalf("blocks %v", got)
	}
}

// TestLeftOvers shows that a directory in which a crash left half-made files
// opens as if they had never been.
func TestLeftOvers(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, changelog.Options{})
	add(t, l, 2, true)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "00000000000000000003.seg.tmp")
	if err := os.WriteFile(left, []byte("half"), 0o640); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, changelog.Options{})
	defer l.Close()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the left-over is still there")
	}
	if got := readAll(t, l, 1); len(got) != 1 {
		t.Fatalf("blocks %v", got)
	}
}

// TestCompress makes sealed segments smaller and changes nothing that is read.
func TestCompress(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, changelog.Options{SegmentBytes: 1 << 20})
	for i := range 40 {
		tail := l.Tail()
		b := changelog.Block{First: tail.Next, Count: 1, Data: bytes.Repeat(fmt.Appendf(nil, "row %d ", i), 8000)}
		if err := l.Append([]changelog.Block{b}, nil, changelog.Tail{Next: tail.Next + 1, Visible: tail.Next}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	before := l.Segments()[0].Bytes
	if more, err := l.Compress(); err != nil || !more {
		t.Fatalf("compress: %v, %v", more, err)
	}
	if more, err := l.Compress(); err != nil || more {
		t.Fatalf("compress again: %v, %v", more, err)
	}
	if after := l.Segments()[0].Bytes; after > before/4 {
		t.Fatalf("%d bytes, %d before", after, before)
	}
	for i := range 40 {
		bs, err := l.Read(change.Offset(i+1), 1)
		if err != nil || !bytes.HasPrefix(bs[0].Data, fmt.Appendf(nil, "row %d ", i)) {
			t.Fatalf("offset %d: %v", i+1, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, errs := changelog.Check(dir, nil); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
}
