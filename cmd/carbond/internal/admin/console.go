package admin

import "time"

// Console is what the page shows beside the status: the last minutes and the
// newest rows. It must be bounded by whoever makes it.
type Console struct {
	Status
	Made     time.Time // ages on the page are as of then
	Every    time.Duration
	History  []Sample // oldest first, one each Every
	Withheld bool     // rows are left out: the API asks callers who they are, this page does not
	Changes  []Change // newest first
	News     []Headline
	Quotes   []Quote
	Projects []Project
}

// Sample is one point of the charts.
type Sample struct {
	Offset uint64
	Lag    float64 // seconds behind Postgres
}

// Change is one change of the changelog.
type Change struct {
	Offset uint64
	At     time.Time
	Topic  string
	Op     string
	Key    string
}

// Headline is one row of the news view.
type Headline struct{ Title, Link, Source, Published string }

// Quote is one row of the finance view.
type Quote struct {
	Ticker        string
	Price, Change float64 // Change in per cent
	Currency      string
	At            time.Time
}

// Project is one row of the projects view.
type Project struct {
	ID, Name, Country, Status string
	Supply                    float64
}
