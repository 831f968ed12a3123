package daemon

import (
	"strings"
	"testing"
	"unsafe"

	"carbond/store/change"
)

func TestKeyText(t *testing.T) {
	finance := change.Standard(change.Finance)
	row := func(values ...string) change.Row {
		var b change.RowBuilder
		b.Reset(len(values))
		for _, v := range values {
			b.Text(v)
		}
		return b.Row()
	}
	for name, tc := range map[string]struct {
		c    change.Change
		want string
	}{
		"new":   {change.Change{Op: change.Create, Relation: finance, After: row("KRBN", "1", "2", "3", "4", "99")}, "KRBN 99"},
		"gone":  {change.Change{Op: change.Delete, Relation: finance, Before: row("KRBN", "1", "2", "3", "4", "98")}, "KRBN 98"},
		"empty": {change.Change{Op: change.Truncate, Relation: finance}, ""},
		"short": {change.Change{Op: change.Create, Relation: finance, After: row("KRBN")}, "KRBN"},
	} {
		if got := keyText(&tc.c); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestBrief(t *testing.T) {
	long := strings.Repeat("é", shownText+1)
	if got := brief(long); got != strings.Repeat("é", shownText)+"…" {
		t.Error(got)
	}
	if got := brief("é"); got != "é" {
		t.Error(got)
	}
}

// What the page shows of a row is a copy, or a look at it would keep the row.
func TestConsoleKeepsNoRow(t *testing.T) {
	row := strings.Repeat("x", 1<<20)
	for _, s := range []string{row, row[:100], "", row[:shownText], row[:shownText+1]} {
		if got := brief(s); got != "" && unsafe.StringData(got) == unsafe.StringData(row) || len(got) > shownText+3 {
			t.Errorf("%d bytes became %d that belong to the row, or too many", len(s), len(got))
		}
		if got := address(s); got != "" && unsafe.StringData(got) == unsafe.StringData(row) || len(got) > shownLink {
			t.Errorf("a link of %d bytes became one of %d that belongs to the row, or too long", len(s), len(got))
		}
	}
}
