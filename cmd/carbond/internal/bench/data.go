package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"carbond/store"
	"carbond/store/change"
)

// project is a Verra row of about 200 bytes.
func project(b *change.RowBuilder, i, version int) change.Row {
	b.Reset(10)
	b.Text(strconv.Itoa(i))
	b.Text(projectID(i))
	b.Text("Rimba Lestari Forest Conservation " + strconv.Itoa(version))
	b.Text("https://registry.example.org/VCS/" + strconv.Itoa(i))
	b.Text(strings.Repeat("s", 40))
	b.Text("ACTIVE")
	b.Text("Country " + strconv.Itoa(i%80))
	b.Text("2021")
	b.Text("12345.5")
	b.Text("2026-11-23 12:00:00.123456+00")
	return b.Row()
}

func projectID(i int) string { return fmt.Sprintf("VCS-%07d", i) }

func quote(b *change.RowBuilder, i int) change.Row {
	b.Reset(7)
	b.Text(fmt.Sprintf("TICK%02d", i))
	b.Text(strconv.FormatFloat(31.25+float64(i), 'g', -1, 64))
	b.Text("1234567")
	b.Text("1.5e+09")
	b.Text("-0.5")
	b.Text("1795400000")
	b.Text("USD")
	return b.Row()
}

// fill writes projects and quotes as an initial copy would.
func fill(ctx context.Context, s *store.Store, projects, quotes int) error {
	var b change.RowBuilder
	t := change.Txn{First: true, CommitLSN: 1 << 20}
	flush := func(final bool) error {
		t.Final = final
		if final {
			t.EndLSN = t.CommitLSN + 1
		}
		err := s.Apply(ctx, []change.Txn{t})
		t.First, t.Changes = false, t.Changes[:0]
		return err
	}
	verra, finance := change.Standard(change.Verra), change.Standard(change.Finance)
	for i := range quotes {
		t.Changes = append(t.Changes, change.Change{Op: change.Create, Relation: finance, After: quote(&b, i)})
	}
	for i := range projects {
		t.Changes = append(t.Changes, change.Change{Op: change.Create, Relation: verra, After: project(&b, i, 0)})
		if len(t.Changes) >= 5000 {
			if err := flush(false); err != nil {
				return err
			}
		}
	}
	return flush(true)
}
