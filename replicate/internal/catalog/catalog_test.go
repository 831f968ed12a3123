package catalog_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"carbond/replicate/internal/catalog"
	"carbond/store/change"
)

const text = change.OIDText

func col(number uint16, name string) catalog.Column {
	return catalog.Column{Number: number, Name: name, Type: text, Published: true, XMin: "50"}
}

func gone(number uint16, by string) catalog.Column {
	return catalog.Column{Number: number, Name: "........pg.dropped", Dropped: true, Published: true, XMin: by}
}

// TestResolve: the stream gives names in the order of numbers, in transaction 100;
// the catalog was looked at before and after.
func TestResolve(t *testing.T) {
	before := []catalog.Column{col(1, "id"), col(2, "a"), col(3, "b")}
	for name, tt := range map[string]struct {
		sent string
		now  []catalog.Column
		want string // names and numbers, "" for nobody can tell
	}{
		"as it was":                   {"id a b", before, "id:1 a:2 b:3"},
		"renamed":                     {"id a c", []catalog.Column{col(1, "id"), col(2, "a"), col(3, "c")}, "id:1 a:2 c:3"},
		"renamed and back":            {"id a c", before, "id:1 a:2 b:3"},
		"swapped":                     {"id b a", []catalog.Column{col(1, "id"), col(2, "b"), col(3, "a")}, "id:1 b:2 a:3"},
		"swapped and back":            {"id b a", before, "id:1 a:2 b:3"},
		"before an addition":          {"id a b", append(slices.Clone(before), col(4, "c")), "id:1 a:2 b:3"},
		"after an addition":           {"id a b c", append(slices.Clone(before), col(4, "c")), "id:1 a:2 b:3 c:4"},
		"before a drop":               {"id a b", []catalog.Column{col(1, "id"), gone(2, "200"), col(3, "b")}, "id:1 a:2 b:3"},
		"after a drop":                {"id b", []catalog.Column{col(1, "id"), gone(2, "90"), col(3, "b")}, "id:1 b:3"},
		"before a drop and an add":    {"id a b", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "200"), col(4, "c")}, "id:1 a:2 b:3"},
		"after a drop and an add":     {"id a c", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "90"), col(4, "c")}, "id:1 a:2 c:4"},
		"before one of the same name": {"id a b", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "200"), col(4, "b")}, "id:1 a:2 b:3"},
		"after one of the same name":  {"id a b", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "90"), col(4, "b")}, "id:1 a:2 b:4"},
		"in the same transaction":     {"id a b", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "100"), col(4, "b")}, ""},
		"added and dropped between":   {"id a b n", []catalog.Column{col(1, "id"), col(2, "a"), col(3, "b"), gone(4, "200"), col(5, "r")}, "id:1 a:2 b:3 n:4"},
		"a passing name of another":   {"id b a", []catalog.Column{col(1, "id"), col(2, "a"), gone(3, "100"), gone(4, "100"), col(5, "b")}, "id:1 a:2 a_4:4"},
		"too few":                     {"id", before, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []change.Column
			for _, n := range strings.Fields(tt.sent) {
				sent = append(sent, change.Column{Name: n, Type: text})
			}
			got, _, err := catalog.KnownFrom(before).Resolve(sent, tt.now, 100)
			if tt.want == "" {
				if !errors.Is(err, catalog.ErrAmbiguous) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			var words []string
			for _, c := range got {
				words = append(words, c.Name+":"+string(rune('0'+c.Number)))
			}
			if s := strings.Join(words, " "); err != nil || s != tt.want {
				t.Errorf("got %s, %v, want %s", s, err, tt.want)
			}
		})
	}
}

// What has come so far narrows what can come: a column that was dropped does not
// return, one that was added stays.
func TestResolveInOrder(t *testing.T) {
	preset := "preset"
	now := []catalog.Column{col(1, "id"), gone(2, "100"), col(3, "b")}
	now[2].Missing = &preset
	k := catalog.KnownFrom([]catalog.Column{col(1, "id"), col(2, "b")})
	send := func(names ...string) []change.Column {
		var sent []change.Column
		for _, n := range names {
			sent = append(sent, change.Column{Name: n, Type: text})
		}
		got, next, err := k.Resolve(sent, now, 100)
		if err != nil {
			t.Fatalf("%v: %v", names, err)
		}
		k = next
		return got
	}
	send("id")             // after the drop
	got := send("id", "b") // after the addition, in the same transaction
	if got[1].Number != 3 || got[1].Missing != change.T(preset) {
		t.Errorf("got %+v", got)
	}
}

func TestText(t *testing.T) {
	m := &catalog.Marks{
		Publication: catalog.Publication{OID: 7, Content: "c0", XMin: "9", Updates: 3, Earlier: 3},
		Tables:      map[string]*catalog.Table{change.Verra: {OID: 16400, Place: "16500", Columns: []catalog.Column{col(1, "project_id"), col(2, "country")}}},
	}
	read := catalog.Parse(m.Text())
	if f := catalog.Compare(read, m, "public"); len(f) > 0 {
		t.Errorf("the same: %+v", f)
	}
	for name, edit := range map[string]func(*catalog.Marks){
		"another publication": func(m *catalog.Marks) { m.Publication.OID = 8 },
		"other content":       func(m *catalog.Marks) { m.Publication.Content = "c1" },
		"written twice":       func(m *catalog.Marks) { m.Publication.XMin, m.Publication.Updates = "12", 5 },
		"another table":       func(m *catalog.Marks) { m.Tables[change.Verra].OID = 1 },
		"another place":       func(m *catalog.Marks) { m.Tables[change.Verra].Place = "16501" },
		"another column":      func(m *catalog.Marks) { m.Tables[change.Verra].Columns[1].Number = 3 },
		"no table":            func(m *catalog.Marks) { delete(m.Tables, change.Verra) },
	} {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var now catalog.Marks
		if err := json.Unmarshal(b, &now); err != nil {
			t.Fatal(err)
		}
		edit(&now)
		if f := catalog.Compare(read, &now, "public"); len(f) != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	preset := "x"
	for name, tt := range map[string]struct {
		col   catalog.Column
		found int
	}{
		"a column that came, empty":     {catalog.Column{Number: 3, Name: "supply", Type: text}, 0},
		"a column that came, filled":    {catalog.Column{Number: 3, Name: "supply", Type: text, Missing: &preset}, 1},
		"a column that came, generated": {catalog.Column{Number: 3, Name: "supply", Type: text, Generated: "s"}, 1},
	} {
		now := *m
		now.Tables = map[string]*catalog.Table{change.Verra: {OID: 16400, Place: "16500", Columns: append(slices.Clone(m.Tables[change.Verra].Columns), tt.col)}}
		for _, before := range []*catalog.Marks{read, m} {
			if f := catalog.Compare(before, &now, "public"); len(f) != tt.found {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
	back := *m // dropped and made again
	back.Tables = map[string]*catalog.Table{change.Verra: {OID: 16400, Place: "16500", Columns: []catalog.Column{col(1, "project_id"), {Number: 2, Name: "gone", Dropped: true}, col(3, "country")}}}
	if f := catalog.Compare(m, &back, "public"); len(f) != 1 {
		t.Errorf("a column that went and came back empty: %+v", f)
	}
	once := *m
	once.Publication.XMin, once.Publication.Updates = "12", 4
	if f := catalog.Compare(m, &once, "public"); len(f) > 0 {
		t.Errorf("written once, with the same content: %+v", f)
	}
	once.Publication.Updates = 3
	if f := catalog.Compare(m, &once, "public"); len(f) != 1 || !f[0].Early {
		t.Errorf("not counted yet: %+v", f)
	}
	seen := *m
	seen.Publication.Earlier = 2 // the write was counted at the last look already
	if f := catalog.Compare(&seen, &once, "public"); len(f) > 0 {
		t.Errorf("counted before it showed: %+v", f)
	}
	// What an earlier version wrote.
	if old := catalog.Parse("7.9 verra=16400.p.16500/" + strings.Split(m.Text(), "/")[len(strings.Split(m.Text(), "/"))-1]); len(catalog.Compare(old, m, "public")) > 0 {
		t.Errorf("of an earlier version: %+v", catalog.Compare(old, m, "public"))
	}
	if catalog.Parse("") != nil {
		t.Error("marks out of nothing")
	}
}
