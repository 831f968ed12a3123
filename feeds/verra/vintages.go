package verra

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// VintageFacts is what the unit ledgers say of one vintage of a project, in tonnes. nil is
// unknown.
type VintageFacts struct {
	Vintage                    int32
	Issued, Retired, Cancelled *float64
	Available                  *float64 // issued - retired - cancelled; unknown where that is less than nothing
}

// Vintages derives what is known of the vintages of one project, oldest first: those
// of its units, and others that are asked for. There are none until the issuances were read
// to their end, nor where one of the project lacks its quantity or its vintage: the
// sums of the others would be too small.
func (l *Ledger) Vintages(number int64, also ...int32) (out []VintageFacts) {
	issued := l.books[Issuances].byVintage(number, nil)
	if issued == nil {
		return nil
	}
	retired, cancelled := l.books[Retirements].byVintage(number, issued), l.books[Cancellations].byVintage(number, issued)
	years := map[int32]bool{}
	for _, y := range also {
		years[y] = true
	}
	for _, sums := range []map[int32]float64{issued, retired, cancelled} {
		for y := range sums {
			years[y] = true
		}
	}
	for _, y := range slices.Sorted(maps.Keys(years)) {
		sum := func(of map[int32]float64) *float64 {
			if of == nil {
				return nil
			}
			v := of[y]
			return &v
		}
		f := derive(sum(issued), sum(retired), sum(cancelled))
		out = append(out, VintageFacts{y, f.Issued, f.Retired, f.Cancelled, f.Supply})
	}
	return out
}

// byVintage returns the tonnes of a project by vintage, nil when they are not known. The
// total of a project alone says it too where there is nothing of it, or one vintage only;
// of are the vintages that were issued.
func (b *book) byVintage(number int64, of map[int32]float64) map[int32]float64 {
	out := map[int32]float64{}
	if total, ok := b.totals[number]; ok && !b.complete {
		for y := range of {
			out[y] = total
		}
		if total == 0 || len(of) == 1 {
			return out
		}
		return nil
	}
	if !b.complete {
		return nil
	}
	quantities := map[int32][]float64{}
	for _, h := range b.rows[number] {
		if h.quantity < 0 || h.vintage == 0 {
			return nil
		}
		quantities[h.vintage] = append(quantities[h.vintage], h.quantity)
	}
	for y, q := range quantities {
		out[y] = total(q)
	}
	return out
}

var vintageColumns = []string{"project_id", "vintage", "issued", "retired", "cancelled", "available"}

// readVintages reads which vintages are stored: one that the ledger has no more is written
// as nothing, as the registry may have corrected it.
func (s *Poller) readVintages(ctx context.Context, c *poll.Cycle) error {
	s.vintages = map[string][]int32{}
	rows, err := c.Stored(ctx, change.Vintages, "project_id", "vintage")
	if s.lacksVintages = errors.Is(err, poll.ErrNoTable); s.lacksVintages {
		return nil // preflight and doctor say so
	}
	for _, r := range rows {
		if y, err := strconv.ParseInt(r.Value(1).Text, 10, 32); err == nil {
			id := r.Value(0).Text
			s.vintages[id] = append(s.vintages[id], int32(y))
		}
	}
	return err
}

// vintageRows are the rows of one project in the table of vintages.
func (s *Poller) vintageRows(n int64) (out []change.Row) {
	if s.lacksVintages {
		return nil
	}
	id := ProjectID(n)
	facts := s.ledger.Vintages(n, s.vintages[id]...)
	if facts != nil {
		s.vintages[id] = nil
	}
	for _, v := range facts {
		s.vintages[id] = append(s.vintages[id], v.Vintage)
		if s.stale[n] { // more may be gone than was read
			v.Retired, v.Cancelled, v.Available = nil, nil, nil
		}
		out = append(out, change.NewRow(change.T(id), poll.Int(&v.Vintage), poll.Float(v.Issued), poll.Float(v.Retired), poll.Float(v.Cancelled), poll.Float(v.Available)))
	}
	return out
}
