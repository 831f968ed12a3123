package change

import "time"

// Delta is one row coming into a view or leaving it. An update is a row that
// leaves and one that comes, in this order. Exactly one of the rows is set.
type Delta struct {
	Diff    int8 // +1 comes, -1 leaves
	Project *Project
	News    *NewsItem
	Quote   *Quote
	// Window is set for news: the source whose newest NewsLimit items the delta
	// is about, "" for the newest of all. A project or quote delta is right for
	// every filter that its row matches.
	Window string
}

// Row returns the row of the delta, as a pointer, and the view that it is of.
func (d *Delta) Row() (view *ViewDef, row any) {
	switch {
	case d.Project != nil:
		return &Projects.ViewDef, d.Project
	case d.News != nil:
		return &NewsItems.ViewDef, d.News
	}
	return &Quotes.ViewDef, d.Quote
}

// SetRow makes a pointer to a row of any view the delta's row.
func (d *Delta) SetRow(row any) {
	d.Project, _ = row.(*Project)
	d.News, _ = row.(*NewsItem)
	d.Quote, _ = row.(*Quote)
}

// ViewTxn is what one source transaction did to the views. Deltas are ordered
// by view, then by key.
type ViewTxn struct {
	Offset     Offset // last change of the transaction
	LSN        LSN    // commit end
	CommitTime time.Time
	Deltas     []Delta
	// Bulk is set in place of Deltas for a transaction that is too large to
	// hold: it yields the deltas one by one and may be called more than once,
	// from any goroutine.
	Bulk func(yield func(Delta) bool)
}

// All yields the deltas, however they are held.
func (t *ViewTxn) All(yield func(Delta) bool) {
	if t.Bulk != nil {
		t.Bulk(yield)
		return
	}
	for _, d := range t.Deltas {
		if !yield(d) {
			return
		}
	}
}
