package store_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

func texts(vals ...string) change.Row {
	row := make([]change.Value, len(vals))
	for i, v := range vals {
		row[i] = change.T(v)
		if v == "NULL" {
			row[i] = change.Value{}
		}
	}
	return change.NewRow(row...)
}

func project(id, name, supply string) change.Edit {
	return change.Edit{
		Table: change.Verra, Columns: []string{"project_id", "project_name", "supply"},
		Rows: []change.Row{texts(id, name, supply)}, Stamp: "updated_at",
	}
}

// TestWrite is the embedded writer: what it records for each kind of edit.
func TestWrite(t *testing.T) {
	tests := map[string]struct {
		before []change.Edit
		edit   change.Edit
		want   change.Written
		ops    string // of the records that the edit made
	}{
		"new row":             {nil, project("VCS-1", "a", "1"), change.Written{Inserted: 1}, "c"},
		"same row":            {[]change.Edit{project("VCS-1", "a", "1")}, project("VCS-1", "a", "1"), change.Written{Unchanged: 1}, ""},
		"same number":         {[]change.Edit{project("VCS-1", "a", "1")}, project("VCS-1", "a", "1.0"), change.Written{Unchanged: 1}, ""},
		"other value":         {[]change.Edit{project("VCS-1", "a", "1")}, project("VCS-1", "b", "1"), change.Written{Updated: 1}, "u"},
		"NULL is a value":     {[]change.Edit{project("VCS-1", "a", "1")}, project("VCS-1", "NULL", "1"), change.Written{Updated: 1}, "u"},
		"delete":              {[]change.Edit{project("VCS-1", "a", "1")}, change.Edit{Table: change.Verra, Columns: []string{"project_id"}, Delete: []change.Row{texts("VCS-1")}}, change.Written{Deleted: 1}, "d"},
		"delete what is gone": {nil, change.Edit{Table: change.Verra, Columns: []string{"project_id"}, Delete: []change.Row{texts("VCS-1")}}, change.Written{Unchanged: 1}, ""},
		"two columns of a key": {
			nil,
			change.Edit{Table: change.Finance, Columns: []string{"ticker", "timestamp", "price"}, Rows: []change.Row{texts("KRBN", "5", "1"), texts("KRBN", "6", "2")}},
			change.Written{Inserted: 2},
			"cc",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			if len(tc.before) > 0 {
				if _, err := s.Write(ctx, tc.before); err != nil {
					t.Fatal(err)
				}
			}
			from := s.Position().Offset
			left, seen, err := s.Preview(ctx, []change.Edit{tc.edit})
			if err != nil || seen != tc.want {
				t.Fatalf("preview %+v, %v, want %+v", seen, err, tc.want)
			}
			rest := seen
			rest.Unchanged = 0
			if _, again, err := s.Preview(ctx, left); err != nil || again != rest {
				t.Fatalf("the edits that preview left: %+v, %v, want %+v", again, err, rest)
			}
			got, err := s.Write(ctx, []change.Edit{tc.edit})
			if err != nil || got != tc.want {
				t.Fatalf("wrote %+v, %v, want %+v", got, err, tc.want)
			}
			recs, err := s.NewReader(from + 1).Read(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			var ops strings.Builder
			for _, r := range recs {
				ops.WriteString(r.Op.String())
				if (r.Op == change.Update || r.Op == change.Delete) && r.Before == "" {
					t.Error("a record without the row before it")
				}
			}
			if ops.String() != tc.ops {
				t.Fatalf("records %q, want %q", ops.String(), tc.ops)
			}
		})
	}
}

// TestWriteKeeps keeps columns that an edit does not name, and gives new Verra
// rows the next id, also after a restart.
func TestWriteKeeps(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	write := func(e change.Edit) {
		t.Helper()
		if _, err := s.Write(ctx, []change.Edit{e}); err != nil {
			t.Fatal(err)
		}
	}
	write(project("VCS-1", "a", "1"))
	write(change.Edit{Table: change.Verra, Columns: []string{"project_id", "country"}, Rows: []change.Row{texts("VCS-1", "Brazil")}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{NoSync: true})
	defer s.Close()
	write(project("VCS-2", "b", "2"))
	rows, err := s.Rows(ctx, change.Verra, []string{"id", "project_id", "project_name", "country", "none"})
	if err != nil {
		t.Fatal(err)
	}
	want := []change.Row{texts("1", "VCS-1", "a", "Brazil", "NULL"), texts("2", "VCS-2", "b", "NULL", "NULL")}
	if !slices.Equal(rows, want) {
		t.Fatalf("rows %q, want %q", rows, want)
	}
}

// TestWriteMerges: what a row has that is there already. NULL is the value of nobody.
func TestWriteMerges(t *testing.T) {
	for name, tt := range map[string]struct {
		merge change.Merge
		want  change.Row
	}{
		"replace": {change.Replace, texts("NULL", "2021", "7")},
		"known":   {change.Known, texts("Brazil", "2021", "7")},
		"missing": {change.Missing, texts("Brazil", "2020", "7")},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			columns := []string{"country", "vintage", "supply"}
			e := change.Edit{Table: change.Verra, Columns: append([]string{"project_id"}, columns...), Rows: []change.Row{texts("VCS-1", "Brazil", "2020", "NULL")}, Stamp: "updated_at"}
			if _, err := s.Write(t.Context(), []change.Edit{e}); err != nil {
				t.Fatal(err)
			}
			e.Merge, e.Rows = tt.merge, []change.Row{texts("VCS-1", "NULL", "2021", "7")}
			for _, want := range []change.Written{{Updated: 1}, {Unchanged: 1}} {
				if n, err := s.Write(t.Context(), []change.Edit{e}); err != nil || n != want {
					t.Errorf("%+v %v, want %+v", n, err, want)
				}
			}
			if rows, err := s.Rows(t.Context(), change.Verra, columns); err != nil || rows[0] != tt.want {
				t.Errorf("%q %v, want %q", rows, err, tt.want)
			}
		})
	}
}

// TestWriteOlderRows writes into rows of before a table got more columns: what they have
// stays, and what they lack is NULL until somebody says it.
func TestWriteOlderRows(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	old := &change.Relation{Schema: "public", Name: change.Verra, Columns: change.Standard(change.Verra).Columns[:10]}
	if change.TableOf(change.Verra).Columns[10].Name != "registry" {
		t.Fatal("the columns of before end elsewhere")
	}
	for i, id := range []string{"VCS-1", "VCS-2"} {
		row := storetest.Encode(old, map[string]change.Value{"id": change.T("1"), "project_id": change.T(id), "project_name": change.T("name"), "supply": change.T("5")})
		mustApply(t, s, change.Txn{CommitLSN: change.LSN(10*i + 10), EndLSN: change.LSN(10*i + 15), First: true, Final: true, Changes: []change.Change{{Op: change.Create, Relation: old, After: row}}})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{NoSync: true})
	defer s.Close()
	if _, err := s.Write(t.Context(), []change.Edit{{Table: change.Verra, Columns: []string{"project_id", "registry"}, Rows: []change.Row{texts("VCS-1", "Verra")}, Stamp: "updated_at"}}); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Rows(t.Context(), change.Verra, []string{"project_id", "project_name", "supply", "registry", "latitude"})
	if want := []change.Row{texts("VCS-1", "name", "5", "Verra", "NULL"), texts("VCS-2", "name", "5", "NULL", "NULL")}; err != nil || !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q: %v", rows, want, err)
	}
	for p := range s.Snapshot().Projects("", "") {
		if p.HasSupply != (p.Registry != "") || p.Supply != 5 || !p.Null.Has(slices.Index(change.Projects.Names(), "price_usd")) {
			t.Errorf("project %+v", p)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := map[string]change.Edit{
		"unknown table":  {Table: "users", Columns: []string{"id"}},
		"no key column":  {Table: change.News, Columns: []string{"title"}, Rows: []change.Row{texts("x")}},
		"key is NULL":    {Table: change.News, Columns: []string{"guid"}, Rows: []change.Row{texts("NULL")}},
		"row too short":  {Table: change.News, Columns: []string{"guid", "title"}, Rows: []change.Row{texts("x")}},
		"the same twice": {Table: change.News, Columns: []string{"guid"}, Rows: []change.Row{texts("x"), texts("x")}},
		"no number":      {Table: change.Finance, Columns: []string{"ticker", "timestamp"}, Rows: []change.Row{texts("A", "soon")}},
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			if _, err := s.Write(context.Background(), []change.Edit{e}); err == nil {
				t.Fatal("written")
			}
			if s.Position().Offset != 0 {
				t.Fatal("something was recorded")
			}
		})
	}
}

// TestPrune drops old history but never the row that a view shows last.
func TestPrune(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	old, fresh := time.Unix(1000, 0), time.Unix(5000, 0)
	_, err := s.Write(ctx, []change.Edit{
		{Table: change.Finance, Columns: []string{"ticker", "timestamp"}, Rows: []change.Row{texts("A", "1000"), texts("A", "5000"), texts("GONE", "1000"), texts("GONE", "900")}},
		{Table: change.News, Columns: []string{"guid", "published_at"}, Rows: []change.Row{
			texts("old", store.Timestamp(old)), texts("new", store.Timestamp(fresh)), texts("undated", "NULL"),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{change.Finance: 2, change.News: 1} {
		n, err := s.Prune(ctx, table, time.Unix(3000, 0))
		if err != nil || n != want {
			t.Errorf("%s: pruned %d, %v, want %d", table, n, err, want)
		}
	}
	if _, err := s.Prune(ctx, change.Verra, fresh); err == nil {
		t.Error("projects have no history")
	}
	var left []string
	for q := range s.Snapshot().Quotes("", "") {
		left = append(left, q.Ticker)
	}
	if !slices.Equal(left, []string{"A", "GONE"}) {
		t.Errorf("tickers %v", left)
	}
}
