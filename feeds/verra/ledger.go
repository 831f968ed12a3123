package verra

import (
	"math"
	"slices"
	"time"
)

// Facts are what the unit ledgers say of one project. nil is unknown.
type Facts struct {
	Issued      *float64  `json:"issued,omitempty"`      // tonnes
	Retired     *float64  `json:"retired,omitempty"`     // tonnes
	Cancelled   *float64  `json:"cancelled,omitempty"`   // tonnes
	Supply      *float64  `json:"supply,omitempty"`      // issued - retired - cancelled
	Vintage     *int32    `json:"vintage,omitempty"`     // newest issuance vintage
	FirstIssued time.Time `json:"first_issued,omitzero"` // of all issuances; zero is unknown
	// Contradiction is set when more was retired and cancelled than issued:
	// the ledgers were read at different times, and supply stays unset.
	Contradiction bool `json:"contradiction,omitempty"`
}

// AllRetired reports the one case in which a project counts as RETIRED: units
// were issued and none is left.
func (f Facts) AllRetired() bool {
	return f.Issued != nil && *f.Issued > 0 && f.Supply != nil && *f.Supply == 0
}

// Ledger collects issuances, retirements and cancellations and derives Facts
// from them. A row that comes again replaces its older copy, so pages may
// overlap and polls repeat. A Ledger is not safe for concurrent use; its memory
// grows with the rows it holds, which is why the retirements of the real registry,
// the largest ledger by far, are better given as totals (SetTotal) than as rows.
//
// A figure is known only when nothing can be missing from it: the ledger was
// swept to the end (SetComplete) or a total was given, and no row of the project
// lacks its quantity.
type Ledger struct {
	books map[Resource]*book
}

// book is one resource of a Ledger.
type book struct {
	complete bool
	owner    map[int64]int64             // entity -> project
	rows     map[int64]map[int64]holding // project -> entity
	totals   map[int64]float64           // project -> tonnes
}

type holding struct {
	quantity float64 // negative: unknown
	vintage  int32   // 0: unknown
	date     int64   // of issue in unix seconds, 0: unknown
	modified int64
}

// NewLedger returns an empty Ledger.
func NewLedger() *Ledger {
	l := &Ledger{books: make(map[Resource]*book, 3)}
	for _, r := range []Resource{Issuances, Retirements, Cancellations} {
		l.books[r] = &book{
			owner: make(map[int64]int64), rows: make(map[int64]map[int64]holding), totals: make(map[int64]float64),
		}
	}
	return l
}

// Add takes rows of a resource and returns the numbers of the projects whose
// Facts may have changed, sorted. Resources other than Issuances, Retirements
// and Cancellations have no effect.
func (l *Ledger) Add(r Resource, rows ...Units) []int64 {
	b := l.books[r]
	if b == nil {
		return nil
	}
	var changed []int64
	for _, u := range rows {
		changed = append(changed, b.add(u)...)
	}
	slices.Sort(changed)
	return slices.Compact(changed)
}

func (b *book) add(u Units) []int64 {
	h := holding{quantity: -1, modified: u.Modified.UnixNano()}
	if u.Modified.IsZero() {
		h.modified = math.MinInt64
	}
	if u.Quantity != nil {
		h.quantity = *u.Quantity
	}
	if u.Vintage != nil {
		h.vintage = *u.Vintage
	}
	if !u.Date.IsZero() {
		h.date = u.Date.Unix()
	}
	was, known := b.owner[u.EntityID]
	if known {
		old := b.rows[was][u.EntityID]
		if old.modified > h.modified || (was == u.Number && old == h) {
			return nil
		}
		delete(b.rows[was], u.EntityID)
	}
	b.owner[u.EntityID] = u.Number
	if b.rows[u.Number] == nil {
		b.rows[u.Number] = make(map[int64]holding)
	}
	b.rows[u.Number][u.EntityID] = h
	if known && was != u.Number {
		return []int64{was, u.Number}
	}
	return []int64{u.Number}
}

// SetComplete says whether the rows given so far are all rows of the resource.
func (l *Ledger) SetComplete(r Resource, complete bool) {
	if b := l.books[r]; b != nil {
		b.complete = complete
	}
}

// Complete reports what SetComplete said last.
func (l *Ledger) Complete(r Resource) bool {
	b := l.books[r]
	return b != nil && b.complete
}

// SetTotal gives the sum of a resource for one project, as the aggregate or
// statistics call reports it. It takes precedence over rows; nil takes it back,
// which is right as soon as the project's units may have changed.
func (l *Ledger) SetTotal(r Resource, number int64, tonnes *float64) {
	switch b := l.books[r]; {
	case b == nil:
	case tonnes == nil:
		delete(b.totals, number)
	default:
		b.totals[number] = *tonnes
	}
}

// Facts derives what is known of one project.
func (l *Ledger) Facts(number int64) Facts {
	issues := l.books[Issuances]
	f := derive(issues.sum(number), l.books[Retirements].sum(number), l.books[Cancellations].sum(number))
	if !issues.complete {
		return f
	}
	first := int64(math.MaxInt64)
	for _, h := range issues.rows[number] {
		first = min(first, h.date)
		if h.vintage != 0 && (f.Vintage == nil || h.vintage > *f.Vintage) {
			f.Vintage = &h.vintage
		}
	}
	if first != 0 && first != math.MaxInt64 { // none of them is undated
		f.FirstIssued = time.Unix(first, 0).UTC()
	}
	return f
}

// derive computes the supply. Where nothing was issued nothing can be retired,
// so those figures are known then as well.
func derive(issued, retired, cancelled *float64) Facts {
	if issued != nil && *issued == 0 {
		retired, cancelled = orZero(retired), orZero(cancelled)
	}
	f := Facts{Issued: issued, Retired: retired, Cancelled: cancelled}
	if issued == nil || retired == nil || cancelled == nil {
		return f
	}
	left := tidy(*issued - *retired - *cancelled)
	if left < 0 {
		f.Contradiction = true
		return f
	}
	f.Supply = &left
	return f
}

func orZero(v *float64) *float64 {
	if v == nil {
		return new(float64)
	}
	return v
}

// sum returns the tonnes of a project, nil when they are not known.
func (b *book) sum(number int64) *float64 {
	if t, ok := b.totals[number]; ok {
		return &t
	}
	if !b.complete {
		return nil
	}
	quantities := make([]float64, 0, len(b.rows[number]))
	for _, h := range b.rows[number] {
		if h.quantity < 0 {
			return nil
		}
		quantities = append(quantities, h.quantity)
	}
	sum := total(quantities)
	return &sum
}

// total adds up. The same rows give the same last bit, whatever their order.
func total(quantities []float64) (sum float64) {
	slices.Sort(quantities)
	for _, q := range quantities {
		sum += q
	}
	return tidy(sum)
}

// tidy removes the noise that adding fractions of a tonne leaves: the registry
// counts whole tonnes, a millionth of one is nothing.
func tidy(v float64) float64 {
	if math.Abs(v) < 1e9 {
		return math.Round(v*1e6)/1e6 + 0
	}
	return v
}
