package change_test

import (
	"strings"
	"testing"

	"carbond/store/change"
)

// TestHugeRow: a builder does not keep the buffer of a huge row, and what it
// gave away is not written again.
func TestHugeRow(t *testing.T) {
	var b change.RowBuilder
	build := func(fill string, size, grow int) change.Row {
		b.Grow(grow)
		b.Reset(2)
		b.Text(strings.Repeat(fill, size))
		b.Null()
		return b.Row()
	}
	const huge = 8 << 20
	rows := []change.Row{
		build("a", huge, huge), build("b", huge, 0), build("c", huge, 2*huge),
		build("d", 3, huge), build("e", 60<<10, 0), build("f", 3, 0), build("g", huge, huge+12),
	}
	for i, want := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		r := rows[i]
		if err := r.Check(); err != nil || strings.Trim(r.Value(0).Text, want) != "" || r.Value(0).Text == "" || r.Value(1).Kind != change.Null {
			t.Errorf("row %s: %v, %.20q", want, err, r.Value(0).Text)
		}
	}
	// The last huge row is given away with its buffer; a small one costs itself.
	if got := testing.AllocsPerRun(10, func() { build("h", 100, 0) }); got > 3 {
		t.Errorf("%v allocations for a small row", got)
	}
}
