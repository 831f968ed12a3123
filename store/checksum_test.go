package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// twin is a store that reads a list of transactions in its own way.
type twin struct {
	dir  string
	opt  store.Options
	s    *store.Store
	rng  *rand.Rand
	next int
}

// read applies some transactions, grouped, cut into parts and interrupted as chance has it.
func (w *twin) read(t *testing.T, txns []change.Txn, until int) {
	t.Helper()
	for w.next < until {
		n := min(1+w.rng.IntN(7), until-w.next)
		var group []change.Txn
		for _, txn := range txns[w.next : w.next+n] {
			if w.rng.IntN(3) == 0 {
				group = append(group, storetest.Split(txn, 1+w.rng.IntN(4))...)
			} else {
				group = append(group, txn)
			}
		}
		w.next += n
		if last := group[len(group)-1]; !last.First && w.rng.IntN(2) == 0 {
			// The connection ends before the transaction does: it comes again.
			if err := w.s.Apply(t.Context(), group[:len(group)-1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.s.Apply(t.Context(), txns[w.next-n:w.next]); err != nil {
			t.Fatal(err)
		}
		switch w.rng.IntN(12) {
		case 0:
			if err := w.s.Advance(t.Context(), w.s.Position().LSN+1); err != nil {
				t.Fatal(err)
			}
		case 1:
			if err := w.s.Close(); err != nil {
				t.Fatal(err)
			}
			w.s = open(t, w.dir, w.opt)
		}
	}
}

func sumsOf(t *testing.T, s *store.Store, at []change.Offset) []change.Checksum {
	t.Helper()
	sums, err := s.Checksums(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// TestChecksums: two stores that read the same in different ways have one checksum at each
// offset; one that reads a single value otherwise has another from there on, and only from
// there on.
func TestChecksums(t *testing.T) {
	n := seed(t)
	src := storetest.NewSource(n)
	txns := make([]change.Txn, 300)
	for i := range txns {
		txns[i] = src.Next()
	}
	make := func(k uint64, opt store.Options) *twin {
		opt.First, opt.NoSync = 1000, true
		w := &twin{dir: t.TempDir(), opt: opt, rng: rand.New(rand.NewPCG(n, k))}
		w.s = open(t, w.dir, opt)
		t.Cleanup(func() { _ = w.s.Close() })
		return w
	}
	a, b := make(1, store.Options{SegmentBytes: 8 << 10}), make(2, store.Options{SegmentBytes: 20 << 10, Compress: true})
	for until := 50; until <= len(txns); until += 50 {
		a.read(t, txns, until)
		b.read(t, txns, until)
		if x, y := a.s.Checksum(), b.s.Checksum(); x != y {
			t.Fatalf("after %d transactions: %+v and %+v", until, x, y)
		}
	}
	var at []change.Offset
	for o := change.Offset(1000); o <= a.s.Position().Offset; o++ {
		at = append(at, o)
	}
	x, y := sumsOf(t, a.s, at), sumsOf(t, b.s, at)
	if !slices.Equal(x, y) {
		t.Fatal("the checksums differ somewhere between")
	}
	if x[len(x)-1] != a.s.Checksum() {
		t.Errorf("computed %+v, held %+v", x[len(x)-1], a.s.Checksum())
	}
	for i, o := range at { // alone as among others, in any order
		if i%17 == 0 {
			if one := sumsOf(t, b.s, at[i:i+1]); one[0] != x[i] {
				t.Fatalf("offset %d: alone %+v, among others %+v", o, one[0], x[i])
			}
		}
		if i > 0 && x[i].Sum == x[i-1].Sum {
			t.Fatalf("offset %d changes nothing", o)
		}
	}

	var changed change.Txn
	where := len(txns) / 2
	for ; changed.Changes == nil; where++ {
		if txns[where].Snapshot == nil {
			changed = otherwise(txns[where])
		}
	}
	where--
	c := make(3, store.Options{})
	c.read(t, txns, where)
	equal := c.s.Position().Offset
	if err := c.s.Apply(t.Context(), []change.Txn{changed}); err != nil {
		t.Fatal(err)
	}
	z := sumsOf(t, c.s, at[:c.s.Position().Offset-1000+1])
	first := slices.IndexFunc(z, func(s change.Checksum) bool { return s != x[s.At-1000] })
	if first < 0 || z[first].At <= equal {
		t.Fatalf("the first difference is at %d of %d; both are equal up to %d", first, len(z), equal)
	}
	for _, s := range z[first:] {
		if s == x[s.At-1000] {
			t.Fatalf("equal again at offset %d", s.At)
		}
	}
}

// otherwise returns a transaction with another value in its first new row that has a text;
// without changes when it has none.
func otherwise(t change.Txn) change.Txn {
	t.Changes = slices.Clone(t.Changes)
	for i, c := range t.Changes {
		if c.Relation.Plain || c.After == "" {
			continue
		}
		at := c.Relation.Index("name")
		if at < 0 {
			at = c.Relation.Index("title")
		}
		if at < 0 || c.After.Value(at).Kind != change.Text {
			continue
		}
		var b change.RowBuilder
		b.Reset(len(c.Relation.Columns))
		for j, v := range c.After.All() {
			if j == at {
				v.Text += "!"
			}
			b.Value(v)
		}
		t.Changes[i].After = b.Row()
		return t
	}
	return change.Txn{}
}

// TestChecksumBounds asks for what the log cannot say.
func TestChecksumBounds(t *testing.T) {
	src := storetest.NewSource(7)
	s := open(t, t.TempDir(), store.Options{First: 1000, SegmentBytes: 4 << 10, NoSync: true, Retention: store.Retention{Bytes: 1}})
	defer s.Close()
	for range 100 {
		if err := s.Apply(t.Context(), []change.Txn{src.Next()}); err != nil {
			t.Fatal(err)
		}
	}
	var gone *change.CompactedError
	end := s.Position().Offset
	if _, err := s.Checksums(t.Context(), []change.Offset{end, end + 1}); !errors.Is(err, change.ErrFuture) {
		t.Errorf("behind the end: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Checksums(ctx, []change.Offset{1000}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Oldest() <= 1000 {
		t.Fatal("retention has dropped nothing: the test proves nothing")
	}
	if _, err := s.Checksums(t.Context(), []change.Offset{1000, end}); !errors.As(err, &gone) {
		t.Errorf("before the oldest: %v", err)
	}
	if sums := sumsOf(t, s, []change.Offset{s.Oldest(), end}); sums[1] != s.Checksum() {
		t.Errorf("computed %+v, held %+v", sums[1], s.Checksum())
	}
}

// TestChecksumsOfStripped: what tables without a view have lost to their bound can be summed no
// more; from the floor on all is as before.
func TestChecksumsOfStripped(t *testing.T) {
	src := storetest.NewSource(7)
	src.Plain = true
	s := open(t, t.TempDir(), store.Options{First: 1000, SegmentBytes: 4 << 10, NoSync: true})
	defer s.Close()
	for range 150 {
		if err := s.Apply(t.Context(), []change.Txn{src.Next()}); err != nil {
			t.Fatal(err)
		}
	}
	var at []change.Offset
	for o := change.Offset(1000); o <= s.Position().Offset; o++ {
		at = append(at, o)
	}
	before := sumsOf(t, s, at)
	s.SetRetention(store.Retention{TablesBytes: 1})
	if err := s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	floor := s.Floor()
	if floor <= 1010 {
		t.Fatalf("the floor is %d: the test proves nothing", floor)
	}
	if got := sumsOf(t, s, at[floor-1000:]); !slices.Equal(got, before[floor-1000:]) {
		t.Error("the checksums behind the floor are others now")
	}
	var gone *change.CompactedError
	if _, err := s.Checksums(t.Context(), at); !errors.As(err, &gone) || gone.Oldest != floor {
		t.Errorf("before the floor: %v", err)
	}
	said := 0
	for i, o := range at { // up to the first record that was taken out
		switch got, err := s.Checksums(t.Context(), at[i:i+1]); {
		case err == nil && got[0] == before[i]:
			said++
		case err == nil || !errors.As(err, &gone):
			t.Fatalf("offset %d: %v, %v, want %v", o, got, err, before[i])
		}
	}
	if said <= len(at[floor-1000:]) {
		t.Errorf("%d offsets have a checksum: none before the floor", said)
	}
}

// TestJoin: a directory that becomes the copy of another one goes on as it does, with its
// history; one that was killed on the way is never opened half made.
func TestJoin(t *testing.T) {
	if spec := os.Getenv("CARBOND_JOIN_CRASH"); spec != "" {
		unpackChild(spec, store.Join)
	}
	n := seed(t)
	src := storetest.NewSource(n)
	first, dir := open(t, t.TempDir(), store.Options{NoSync: true}), filepath.Join(t.TempDir(), "data")
	defer first.Close()
	var archive bytes.Buffer
	var behind []change.Txn
	for i := range 120 {
		txn := src.Next()
		if i == 80 {
			if err := first.Backup(t.Context(), &archive, "test"); err != nil {
				t.Fatal(err)
			}
		}
		if i >= 80 {
			behind = append(behind, txn)
		}
		if err := first.Apply(t.Context(), []change.Txn{txn}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "backup.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	old := func() string { // a directory with data of its own
		t.Helper()
		dir := t.TempDir()
		s := open(t, dir, store.Options{NoSync: true})
		if err := s.Apply(t.Context(), []change.Txn{storetest.NewSource(n + 1).Next()}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	goesOn := func(dir string) {
		t.Helper()
		s := open(t, dir, store.Options{NoSync: true})
		defer s.Close()
		if err := s.Apply(t.Context(), behind); err != nil {
			t.Fatal(err)
		}
		if s.History().ID != first.History().ID || s.Checksum() != first.Checksum() || s.Position() != first.Position() {
			t.Fatalf("%s: %+v and %+v", dir, s.Checksum(), first.Checksum())
		}
	}
	for _, dir := range []string{dir, old()} {
		if _, _, err := store.Join(dir, bytes.NewReader(archive.Bytes()), store.Options{NoSync: true}); err != nil {
			t.Fatal(err)
		}
		goesOn(dir)
	}

	kept := old()
	was, err := store.Check(kept)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Join(kept, bytes.NewReader(archive.Bytes()[:archive.Len()/2]), store.Options{NoSync: true}); err == nil {
		t.Error("half a backup was taken")
	}
	if is, err := store.Check(kept); err != nil || is.Position != was.Position || is.History.ID != was.History.ID {
		t.Errorf("half a backup has changed the directory: %v", err)
	}

	kills := 0
	for k := 1; ; k++ {
		dir := old()
		cmd := exec.Command(os.Args[0], "-test.run=^TestJoin$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("CARBOND_JOIN_CRASH=%d %s %s", k, path, dir))
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v\n%s", k, err, out)
		}
		kills++
		holds, err := store.Holds(dir)
		if err != nil {
			t.Fatal(err)
		}
		if holds == store.HoldsUnfinished {
			if s, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrRestoring) {
				if err == nil {
					_ = s.Close()
				}
				t.Fatalf("step %d: open: %v", k, err)
			}
			if _, _, err := store.Join(dir, bytes.NewReader(archive.Bytes()), store.Options{NoSync: true}); err != nil {
				t.Fatalf("step %d: again: %v", k, err)
			}
		}
		goesOn(dir)
	}
	if kills < 8 {
		t.Fatalf("%d kills: the test proves nothing", kills)
	}
}
