package registry

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the document again")

// TestDocument holds the document of the formats to the formats.
func TestDocument(t *testing.T) {
	const path = "../../packaging/docs/import.md"
	var b strings.Builder
	b.WriteString(`# Files that carbond import reads

CSV with any of these separators: comma, semicolon, tab, bar; in UTF-8, UTF-16 or Windows-1252. The
header is one of the first 50 rows. Case, white space and a remark in brackets at the end of a
header do not count. A file is of the kind whose *needed* headers it has; other columns may come and go.
Anything else is read with ` + "`--map HEADER=COLUMN`" + ` (and ` + "`--registry NAME`" + `), where COLUMN is one of:
` + "`" + strings.Join(Fields(), "`, `") + "`" + `.

Units of one project are summed up: the newest vintage with issued units is its ` + "`vintage`" + `, what is
left its ` + "`supply`" + `. A row of the units of Verra and Gold Standard is issued, and gone where it says so;
of ACR, CAR and Puro the issued, retired and cancelled units are files of their own, and all three have to be there
(Puro has no cancelled ones, so its supply stays unknown).

By vintage the sums go to the table ` + "`vintages`" + `: what the files say of issued, retired and cancelled units, and what is
available where all of that is known. Verra's units do not say whether they are retired or cancelled: both
count as retired, and cancelled stays unknown. A project of which one row could not be read, or has no vintage, gets none.

## Who may overwrite what

| writer | may |
|---|---|
| ` + "`carbond import`" + ` | fill in what is NULL, of projects and of vintages |
| ` + "`import --overwrite`" + ` | replace values too; an empty cell still takes nothing back |
| ` + "`import --replace`" + ` | also delete what the files lack: projects of the registries of which it got a file of projects, with their vintages; vintages of those of which it got a file of issued units |
| the feed of a registry | replace what it knows better, at its next poll; what it does not know takes nothing back |
| anybody by SQL | whatever Postgres lets him; carbond shows it as it is |
`)
	for _, f := range formats {
		fmt.Fprintf(&b, "\n## %s%s\n\nNeeded: %s\n\n| header | read as |\n|---|---|\n", strings.ToUpper(f.name[:1]), f.name[1:], strings.Join(f.needs, ", "))
		for _, h := range slices.Sorted(maps.Keys(f.columns)) {
			fmt.Fprintf(&b, "| %s | `%s` |\n", h, f.columns[h])
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the formats say (-update writes it): %v", path, err)
	}
}
