package store_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

func shopRelation() *change.Relation {
	return &change.Relation{Schema: "shop", Name: "orders", Plain: true, Columns: []change.Column{{Name: "id", Type: change.OIDInt4, Key: true}, {Name: "note", Type: change.OIDText}}}
}

// TestCopies keeps what a copy beside the stream brings: rows of a table without a
// view as they are, those of a view as differences, and how far it is, over a restart.
func TestCopies(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{})
	news := change.Standard(change.News)
	row := func(guid, title string) change.Row {
		v := make([]change.Value, len(news.Columns))
		v[0], v[1] = change.T(guid), change.T(title)
		return change.NewRow(v...)
	}
	stream := func(lsn change.LSN, changes ...change.Change) change.Txn {
		return change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Final: true, Changes: changes}
	}
	mustApply(t, s, stream(100,
		change.Change{Op: change.Create, Relation: news, After: row("same", "one"), LSN: 99},
		change.Change{Op: change.Create, Relation: news, After: row("other", "one"), LSN: 99},
		change.Change{Op: change.Create, Relation: news, After: row("gone", "one"), LSN: 99}))
	before := s.Position()
	whole := &change.Copy{Whole: change.News, Topic: "carbon.public.news", Mark: "news is copied"}
	mustApply(t, s, change.Txn{First: true, Final: true, Copy: whole, Changes: []change.Change{
		{Op: change.Read, Relation: news, After: row("same", "one"), LSN: 104},
		{Op: change.Read, Relation: news, After: row("other", "two"), LSN: 104},
		{Op: change.Read, Relation: news, After: row("new", "two"), LSN: 104},
	}})
	shop := shopRelation()
	piece := func(mark string, final bool, ids ...string) change.Txn {
		c := change.Txn{First: true, Final: final, Copy: &change.Copy{Topic: shop.Topic(), Mark: mark}}
		for _, id := range ids {
			c.Changes = append(c.Changes, change.Change{Op: change.Read, Relation: shop, After: change.NewRow(change.T(id), change.T("n")), LSN: 104})
		}
		return c
	}
	mustApply(t, s, piece("up to 2", true, "1", "2"), piece("lost", false, "3"), stream(110, change.Change{Op: change.Delete, Relation: shop, Before: change.NewRow(change.T("1"), change.Value{}), LSN: 109}),
		piece("all", true), stream(100)) // nothing is left, and a transaction comes again
	if p := s.Position(); p.LSN != 115 || before.LSN != 105 {
		t.Errorf("it stands at %s, before at %s", p.LSN, before.LSN)
	}
	check := func() {
		t.Helper()
		var lines []string
		for _, r := range readAll(t, s, before.Offset+1) {
			lines = append(lines, storetest.RecordLine(r))
		}
		want := []string{
			`u news guid="other" title="one"  -> guid="other" title="two" `, `r news - -> guid="new" title="two" `, `d news guid="gone" title="one"  -> -`,
			`r orders - -> id="1" note="n" `, `r orders - -> id="2" note="n" `, `d orders id="1"  -> -`,
		}
		equalLines(t, lines, want)
		if m := s.Marks(); m["carbon.public.news"] != "news is copied" || m[shop.Topic()] != "all" {
			t.Errorf("marks %q", m)
		}
		if topic, ok := s.Topic(shop.Topic()); !ok || topic.Records != 3 || topic.Messages != 4 || topic.Table != "shop.orders" {
			t.Errorf("topic %+v", topic)
		}
		if first, next, err := s.Messages(t.Context(), shop.Topic()); err != nil || first != 0 || next != 4 {
			t.Errorf("messages %d to %d: %v", first, next, err)
		}
		if n := len(s.Topics()); n != len(change.Tables())+1 {
			t.Errorf("%d topics", n)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{})
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func equalLines(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d: %q", len(got), len(want), got)
		return
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("record %d is %s, want %s", i, got[i], want[i])
		}
	}
}

// TestTablesBytes: tables without a view have a bound of their own. What it takes of
// them shortens nothing else: views of any moment, positions by LSN, what is kept of
// them, through a rename that fails, restarts, backup and fsck.
func TestTablesBytes(t *testing.T) {
	dir := t.TempDir()
	var fault string
	opt := store.Options{SegmentBytes: 8 << 10, NoSync: true, Fault: func(point string) error {
		if point == fault {
			return errors.New("the disk says no")
		}
		return nil
	}}
	sd := seed(t)
	src, rng := storetest.NewSource(sd), rand.New(rand.NewPCG(sd, 3))
	src.Plain = true
	s := open(t, dir, opt)
	defer func() { s.Close() }()
	past := map[change.Position]*storetest.Model{}
	var at []change.Position
	write := func() {
		for range 20 {
			mustApply(t, s, src.Next())
			if p := s.Position(); len(at) == 0 || p.Offset != at[len(at)-1].Offset {
				at = append(at, p)
				past[p] = src.Model.Clone()
			}
		}
		if err := s.Maintain(t.Context()); err != nil && fault == "" {
			t.Fatal(err)
		}
	}
	for range 20 {
		write()
	}
	kept := s.Oldest()
	if s.Floor() != kept {
		t.Fatal("something was taken without a bound")
	}
	check := func() {
		t.Helper()
		for i := 1; i < len(at); i += 1 + rng.IntN(40) {
			p, from := at[i], at[i-1].Offset+1
			checkPast(t, s, p, past[p])
			for o := from; o <= p.Offset; o++ { // it is inside a transaction, or ends one
				want := p.Offset
				if o < p.Offset {
					want = from - 1
				}
				snap, err := s.Past().AsOf(t.Context(), o, change.Selection{}, nil)
				if err != nil || snap.Offset() != want {
					t.Fatalf("as of %d: %v, want offset %d", o, err, want)
				}
				if o == p.Offset && o < s.Position().Offset && snap.LSN() != p.LSN { // transactions without changes may follow the newest
					t.Fatalf("as of %d: at %s, want %s", o, snap.LSN(), p.LSN)
				}
			}
		}
		if d := storetest.DiffLog(logLines(t, s), src.Model.Log); d != "" {
			t.Fatal(d)
		}
		for _, r := range readAll(t, s, s.Floor()) {
			if r.Op == change.Removed {
				t.Fatalf("offset %d is gone, and tables without a view are kept from %d on", r.Offset, s.Floor())
			}
		}
	}
	check()
	s.SetRetention(store.Retention{TablesBytes: 8 << 10})
	fault = "strip.name"
	if err := s.Maintain(t.Context()); err == nil {
		t.Fatal("no error of a disk that names no file")
	}
	floor := s.Floor()
	if floor == kept || slices.ContainsFunc(readAll(t, s, 1), func(r change.Record) bool { return r.Op == change.Removed }) {
		t.Errorf("nothing is kept before %d, and something is gone", floor)
	}
	check()
	fault = ""
	for range 5 {
		write()
	}
	if s.Floor() <= floor || s.Oldest() != kept {
		t.Errorf("tables without a view are kept from %d on, the others from %d", s.Floor(), s.Oldest())
	}
	check()
	for topic, want := range map[string]change.Offset{"carbon.shop.orders_0": s.Floor(), "carbon.public.news": kept} {
		if got, ok := s.Topic(topic); !ok || got.First != want || got.Plain != (want != kept) {
			t.Errorf("%+v, want it from %d on", got, want)
		}
	}
	archive, floor := backupOf(t, s), s.Floor()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, opt)
	if s.Floor() != floor {
		t.Errorf("behind a restart they are kept from %d on, before it %d", s.Floor(), floor)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if _, _, err := store.Restore(restored, bytes.NewReader(archive), opt); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, restored} {
		r, err := store.Check(dir)
		if err != nil || len(r.Problems) > 0 || !r.Rebuilt {
			t.Fatalf("fsck: %v, %+v", err, r)
		}
	}
	s = open(t, restored, opt)
	if s.Floor() != floor {
		t.Errorf("behind a restore they are kept from %d on, before it %d", s.Floor(), floor)
	}
}

// TestTopicOfBoth: a table of a view that came later takes over the topic of another of its
// name, which was kept without a view. Messages are counted on, also over segments and starts.
func TestTopicOfBoth(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{SegmentBytes: 4 << 10})
	own := &change.Relation{Schema: "public", Name: change.Vintages, Plain: true, Columns: []change.Column{{Name: "wine", Type: change.OIDText}}}
	later := change.Standard(change.Vintages)
	const topic = "carbon.public.vintages"
	lsn, records := change.LSN(100), uint64(0)
	write := func(c change.Change) {
		lsn += 10
		records++
		c.LSN = lsn
		mustApply(t, s, change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Final: true, Changes: []change.Change{c}})
	}
	check := func() {
		t.Helper()
		figures, ok := s.Topic(topic)
		if !ok || figures.Records != records || figures.Messages != records || figures.Next != s.Position().Offset+1 {
			t.Errorf("%d records: topic %+v", records, figures)
		}
		if n := len(s.Topics()); n != len(change.Tables()) {
			t.Errorf("%d topics", n)
		}
		offset := s.History().First
		for n := range records {
			if at, first, err := s.FindMessage(t.Context(), topic, n); err != nil || at != offset+change.Offset(n) || first != n {
				t.Fatalf("message %d is the %d of offset %d, %v; want offset %d", n, first, at, err, offset+change.Offset(n))
			}
		}
	}
	long := strings.Repeat("x", 500)
	for range 12 {
		write(change.Change{Op: change.Create, Relation: own, After: change.NewRow(change.T(long))})
	}
	check()
	for y := range 40 {
		write(change.Change{Op: change.Create, Relation: later, After: change.NewRow(change.T("P"+long), change.T(strconv.Itoa(2000+y)), change.Value{}, change.Value{}, change.Value{}, change.Value{}, change.Value{})})
	}
	write(change.Change{Op: change.Create, Relation: own, After: change.NewRow(change.T(long))})
	check()
	if d, _ := s.Snapshot().Project("P" + long); len(d.Vintages) != 0 {
		t.Error("a project without a row has vintages")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{SegmentBytes: 4 << 10})
	defer s.Close()
	check()
	if n := s.Snapshot().Rows(change.Vintages); n != 40 {
		t.Errorf("%d rows", n)
	}
}
