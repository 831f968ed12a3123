package store_test

import (
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
