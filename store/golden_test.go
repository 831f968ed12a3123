package store_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

var writeGolden = flag.Bool("write-golden", false, "write testdata/golden-3 again (only before a format is released)")

// TestGolden opens data directories as each format wrote them, with several
// sealed segments and a log that goes on behind the checkpoint, from 2 on also
// behind a restore, in 3 with stripped segments, and compares all that they say with what was written down
// then. A change of the format without a change of its number fails here.
func TestGolden(t *testing.T) {
	for format := 1; format <= 3; format++ {
		t.Run(fmt.Sprint(format), func(t *testing.T) { goldenOf(t, format) })
	}
}

func goldenOf(t *testing.T, format int) {
	golden := fmt.Sprintf("testdata/golden-%d", format)
	said, write := golden+".txt", *writeGolden && format == 3
	if write {
		makeGolden(t, golden)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	r, err := store.Check(dir)
	if err != nil || len(r.Problems) > 0 {
		t.Fatalf("fsck: %v, %v", err, r)
	}
	if n, ok := r.Rows[change.Vintages]; !ok || n != 0 {
		t.Errorf("%d rows of a table that came later, %v", n, ok)
	}
	delete(r.Rows, change.Vintages)
	var b strings.Builder
	fmt.Fprintf(&b, "segments and checkpoint: oldest %d, checkpoint %d, rows %v\n", r.Oldest, r.Checkpoint, r.Rows)
	s := open(t, dir, store.Options{SegmentBytes: 8 << 10})
	defer s.Close()
	if h := s.History(); format > 1 {
		fmt.Fprintf(&b, "history %+v\n", h)
	} else if h.ID == "" || h.First != 1 || len(h.Parents) > 0 {
		t.Errorf("history %+v", h)
	}
	fmt.Fprintf(&b, "position %+v\n", s.Position())
	for _, topic := range s.Topics() {
		if topic.Table == change.Vintages {
			if topic.Records != 0 || topic.Messages != 0 || topic.First != topic.Next && topic.Next != s.History().After(0) {
				t.Errorf("topic of a table that came later: %+v", topic)
			}
			continue
		}
		topic.Since, topic.Plain = time.Time{}, false // found out in the background, and told by the name
		fmt.Fprintf(&b, "topic %s\n", without(topic, "Since:"+topic.Since.String()+" Plain:false"))
	}
	for _, g := range s.Groups() {
		fmt.Fprintf(&b, "group %s generation %d, committed %d, lag %d\n", g.Name, g.Generation, g.Topics[0].Committed, g.Topics[0].Lag)
	}
	for p := range s.Snapshot().Projects("", "") {
		p.Null, p.HasSupply = 0, false
		fmt.Fprintf(&b, "project %s\n", without(p, "Registry: Methodology: ProjectType: Region: PriceUSD:0 HasSupply:false Null:0"))
	}
	for q := range s.Snapshot().Quotes("", "") {
		q.Null = 0
		fmt.Fprintf(&b, "quote %s\n", without(q, "Currency: Null:0"))
	}
	for n := range s.Snapshot().News("Reuters") {
		n.Null = 0
		fmt.Fprintf(&b, "news %s\n", without(n, "PublishedEstimated:false Null:0"))
	}
	for _, l := range logLines(t, s) {
		fmt.Fprintln(&b, l)
	}
	if write {
		if err := os.WriteFile(said, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Fatalf("the directory says\n%s\nit said\n%s", b.String(), want)
	}
}

// without prints a view row as it was before it had its last fields, which are
// empty for rows of then.
func without(row any, last string) string {
	return strings.TrimSuffix(fmt.Sprintf("%+v", row), " "+last+"}") + "}"
}

func makeGolden(t *testing.T, golden string) {
	t.Helper()
	dir := t.TempDir()
	src := storetest.NewSource(20261123)
	src.Plain = true
	s := open(t, dir, store.Options{First: 100, SegmentBytes: 16 << 10})
	for range 80 {
		mustApply(t, s, src.Next())
	}
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: "carbon.public.news", Offset: 109}); err != nil {
		t.Fatal(err)
	}
	s.SetRetention(store.Retention{TablesBytes: 1})
	if err := s.Maintain(t.Context()); err != nil || s.Floor() == s.Oldest() {
		t.Fatalf("nothing was taken of tables without a view: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	keep, err := os.ReadFile(filepath.Join(dir, "checkpoint.db"))
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{SegmentBytes: 16 << 10})
	archive := backupOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "restored")
	if _, _, err := store.Restore(dir, bytes.NewReader(archive), store.Options{First: 5000, SegmentBytes: 16 << 10}); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{SegmentBytes: 16 << 10})
	for range 20 {
		mustApply(t, s, src.Next())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// As a kill would leave it: the log goes on behind the checkpoint.
	if err := os.WriteFile(filepath.Join(dir, "checkpoint.db"), keep, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(golden, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(golden, "LOCK")); err != nil {
		t.Fatal(err)
	}
}
