package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// project is one project of a registry.
type project struct {
	registry string // code, "VCS"
	number   int64
	entity   int64
	name     string
	country  country
	kind     kind
	state    state
	created  time.Time
	modified time.Time
	since    int // first vintage

	// What the registry says of some projects only.
	lat, long float64 // 0 is how it says that it does not know
	estimate  *int64  // tonnes a year
	proponent string
	credited  bool // it has a crediting period

	lots  []*lot // by vintage
	shown object // as answers have it, nil when that has changed; never changed itself
}

// lot is the units of one vintage, in tonnes.
type lot struct {
	vintage                    int
	issued, retired, cancelled int64
}

func (l *lot) left() int64 { return l.issued - l.retired - l.cancelled }

func (p *project) key() string { return fmt.Sprintf("%s-%d", p.registry, p.number) }

func (p *project) left() (n int64) {
	for _, l := range p.lots {
		n += l.left()
	}
	return n
}

// units is one row of a ledger.
type units struct {
	entity   int64
	project  *project
	vintage  int
	quantity int64
	since    time.Time // first of them
	at       time.Time // last of them
	shown    object    // as that of a project
}

// newProject invents the i-th project. The first one is the example of the documents:
// a registered one in Brazil.
func (w *World) newProject(r *rand.Rand, i int) *project {
	age := r.IntN(16) // years
	p := &project{
		registry: "VCS", number: firstNumber + int64(i), entity: w.entity(), kind: kinds[i%len(kinds)], state: states[i%len(states)],
		country:  countries[int(float64(len(countries))*math.Pow(r.Float64(), 1.7))],
		modified: w.opt.Start.Add(-time.Duration(48+r.IntN(5000)) * time.Hour), proponent: Mark + " Proponent Ltd. (PP)", credited: true,
		created: w.opt.Start.AddDate(-3-age, 0, -r.IntN(365)), since: w.opt.Start.Year() - 2 - age,
	}
	if i >= registryCount {
		o := others[i%len(others)]
		p.registry, p.kind = o.registry, o.kind
	}
	if i == 0 {
		p.country = countries[0]
	}
	p.name = fmt.Sprintf("%s: %s %s", Mark, place(i), p.kind.noun)
	if r.Float64() < 0.7 {
		p.lat, p.long = math.Round(1e4*(p.country.lat+r.Float64()))/1e4, math.Round(1e4*(p.country.long+r.Float64()))/1e4
	}
	if n := 1000 * int64(5+r.IntN(600)); r.Float64() < 0.85 {
		p.estimate = &n
	}
	if r.Float64() < 0.1 {
		p.proponent = ""
	}
	p.credited = p.state.active || r.Float64() < 0.3
	return p
}

// history gives a project the issuances and retirements of its past. Some years have
// none, and old vintages are mostly used up.
func (w *World) history(r *rand.Rand, p *project) {
	last := w.opt.Start.Year() - 1
	size := 8_000 + r.IntN(300_000)
	for vintage := p.since; vintage <= last; vintage++ {
		if r.Float64() < 0.3 && (vintage < last || len(p.lots) > 0) {
			continue
		}
		at := time.Date(vintage+1, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.IntN(7000)) * time.Hour)
		if latest := w.opt.Start.Add(-72 * time.Hour); at.After(latest) {
			at = latest
		}
		l := &lot{vintage: vintage}
		p.lots = append(p.lots, l)
		w.enter(&w.issuances, p, l, &l.issued, int64(size/2+r.IntN(size)), at)
		gone := min(0.12*float64(last-vintage+1)*(0.5+r.Float64()), 0.97)
		q := int64(gone * float64(l.issued))
		if p.number%17 == 0 {
			q = l.issued // used up: what carbond calls RETIRED
		}
		w.enter(&w.retirements, p, l, &l.retired, q, w.opt.Start.Add(-time.Duration(24+r.IntN(2000))*time.Hour))
		if p.number%6 == 0 && l.left() > 1000 {
			w.enter(&w.cancellations, p, l, &l.cancelled, l.left()/50, at.Add(time.Hour))
		}
	}
}

// enter adds tonnes to a figure of a lot and to its ledger.
func (w *World) enter(ledger *[]*units, p *project, l *lot, figure *int64, q int64, at time.Time) {
	*figure += q
	p.shown = nil
	i := slices.IndexFunc(*ledger, func(u *units) bool { return u.project == p && u.vintage == l.vintage })
	if i < 0 {
		*ledger = append(*ledger, &units{entity: w.entity(), project: p, vintage: l.vintage, quantity: q, since: at, at: at})
		return
	}
	u := (*ledger)[i]
	u.quantity, u.at, u.shown = u.quantity+q, at, nil
}

// issue lets a project receive new units of last year.
func (w *World) issue(r *rand.Rand, at time.Time) {
	p := w.pick(r, func(p *project) bool { return p.state.active && p.number%17 != 0 })
	vintage := at.Year() - 1
	l := p.lots[len(p.lots)-1]
	if l.vintage < vintage {
		l = &lot{vintage: vintage}
		p.lots = append(p.lots, l)
	}
	p.modified = at
	w.enter(&w.issuances, p, l, &l.issued, int64(500+r.IntN(20_000)), at)
}

// retire lets a holder use up units, of an old vintage rather than a new one.
func (w *World) retire(r *rand.Rand, at time.Time) {
	p := w.pick(r, func(p *project) bool { return p.left() > 5000 })
	if p == nil {
		return
	}
	for _, l := range p.lots {
		if l.left() > 100 && (r.IntN(2) == 0 || l == p.lots[len(p.lots)-1]) {
			p.modified = at
			w.enter(&w.retirements, p, l, &l.retired, max(l.left()/int64(40+r.IntN(400)), 1), at)
			return
		}
	}
}

// pick draws a project that fits, nil when none does.
func (w *World) pick(r *rand.Rand, fits func(*project) bool) *project {
	first := r.IntN(len(w.projects))
	for i := range w.projects {
		if p := w.projects[(first+i)%len(w.projects)]; fits(p) {
			return p
		}
	}
	return nil
}
