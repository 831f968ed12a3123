package sample

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Options of a World. The zero Options are good for a demo.
type Options struct {
	Seed  uint64
	Now   func() time.Time // clock; nil = time.Now
	Start time.Time        // when the world begins to move; zero = Now() at New
	Step  time.Duration    // how often something happens; 0 = one second
}

// How much the world grows before it only trades.
const (
	maxUnits   = 9_000 // rows of one ledger: below what one search pages through
	maxStories = 40    // kept per outlet
)

// World is the invented state behind the servers.
type World struct {
	opt Options

	mu            sync.Mutex // guards all below
	step          int64
	projects      []*project
	issuances     []units
	retirements   []units
	cancellations []units
	offers        []*offer
	shares        []*share
	outlets       []*outlet
	nextEntity    int64
	nextStory     int
	faults        map[string]Fault
	requests      map[string]int
}

// New builds the world as it is at its start.
func New(opt Options) *World {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Start.IsZero() {
		opt.Start = opt.Now()
	}
	if opt.Step <= 0 {
		opt.Step = time.Second
	}
	opt.Start = opt.Start.UTC().Truncate(time.Second)
	w := &World{opt: opt, nextEntity: 910_000_000_000, faults: map[string]Fault{}, requests: map[string]int{}}
	w.populate(rand.New(rand.NewPCG(opt.Seed, 0)))
	return w
}

// at is the world's time of a step.
func (w *World) at(step int64) time.Time {
	return w.opt.Start.Add(time.Duration(step) * w.opt.Step).UTC()
}

// advance brings the world to now. Each step draws from a source of its own, so
// it does not matter how often anybody looks. The caller holds mu.
func (w *World) advance() {
	target := int64(w.opt.Now().Sub(w.opt.Start) / w.opt.Step)
	for w.step < target {
		w.step++
		r := rand.New(rand.NewPCG(w.opt.Seed, uint64(w.step)))
		at := w.at(w.step)
		w.trade(r, at)
		switch {
		case w.step%3 == 0:
			w.retire(r, at)
		case w.step%4 == 0:
			w.issue(r, at)
		}
		w.offers[r.IntN(len(w.offers))].move(r, at)
		if w.step%5 == 0 {
			w.write(r, at)
		}
	}
}

// project is one project of the registry.
type project struct {
	number   int64
	entity   int64
	name     string
	country  country
	kind     kind
	state    state
	created  time.Time
	modified time.Time

	issued, retired, cancelled int64 // tonnes
}

func (p *project) left() int64 { return p.issued - p.retired - p.cancelled }

// units is one row of a ledger.
type units struct {
	entity   int64
	project  *project
	vintage  int
	quantity int64
	at       time.Time
}

func (w *World) entity() int64 {
	w.nextEntity++
	return w.nextEntity
}

// populate invents the world before its first step.
func (w *World) populate(r *rand.Rand) {
	for i := range projectCount {
		p := &project{
			number: firstNumber + int64(i), entity: w.entity(), name: projectName(i),
			country: countries[i%len(countries)], kind: kinds[i%len(kinds)], state: states[i%len(states)],
			created: w.opt.Start.AddDate(-3, 0, -r.IntN(900)), modified: w.opt.Start.Add(-time.Duration(48+r.IntN(5000)) * time.Hour),
		}
		w.projects = append(w.projects, p)
		if p.state.active {
			w.history(r, p)
		}
		if i%5 < 3 {
			w.offers = append(w.offers, newOffer(r, p, w.opt.Start))
		}
	}
	w.shares = newShares(r, w.opt.Start)
	w.outlets = newOutlets()
	for i := range 8 * len(w.outlets) {
		w.story(r, w.outlets[i%len(w.outlets)], w.opt.Start.Add(-time.Duration(8*len(w.outlets)-i)*17*time.Minute))
	}
}

// history gives a project the issuances and retirements of its past.
func (w *World) history(r *rand.Rand, p *project) {
	year := w.opt.Start.Year()
	for n := 1 + r.IntN(3); n > 0; n-- {
		at := w.opt.Start.Add(-time.Duration(72+r.IntN(9000)) * time.Hour)
		q := int64(10_000 + r.IntN(400_000))
		p.issued += q
		w.issuances = append(w.issuances, units{w.entity(), p, year - n, q, at})
	}
	at := w.opt.Start.Add(-time.Duration(24+r.IntN(48)) * time.Hour)
	q := p.issued / int64(3+r.IntN(5))
	if p.number%17 == 0 {
		q = p.issued // used up: what carbond calls RETIRED
	}
	p.retired += q
	w.retirements = append(w.retirements, units{w.entity(), p, year - 1, q, at})
	if p.number%6 == 0 && p.left() > 1000 {
		q := p.left() / 50
		p.cancelled += q
		w.cancellations = append(w.cancellations, units{w.entity(), p, year - 1, q, at})
	}
}

// issue lets a project receive new units.
func (w *World) issue(r *rand.Rand, at time.Time) {
	p := w.pick(r, func(p *project) bool { return p.state.active && p.left() > 0 })
	if p == nil || len(w.issuances) >= maxUnits {
		return
	}
	q := max(p.issued/int64(40+r.IntN(120)), 100)
	p.issued += q
	p.modified = at
	w.issuances = append(w.issuances, units{w.entity(), p, at.Year() - 1, q, at})
}

// retire lets a holder use up units.
func (w *World) retire(r *rand.Rand, at time.Time) {
	p := w.pick(r, func(p *project) bool { return p.left() > 5000 })
	if p == nil || len(w.retirements) >= maxUnits {
		return
	}
	q := p.left() / int64(40+r.IntN(160))
	p.retired += q
	p.modified = at
	w.retirements = append(w.retirements, units{w.entity(), p, at.Year() - 1, q, at})
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

// offer is what the marketplace says of a project.
type offer struct {
	project *project
	vintage int
	bridged float64
	supply  float64 // tonnes, with fractions
	price   float64 // US dollars
	updated time.Time
}

func newOffer(r *rand.Rand, p *project, start time.Time) *offer {
	bridged := math.Round(20_000 + r.Float64()*80_000)
	return &offer{
		project: p, vintage: start.Year() - 2 - r.IntN(8), bridged: bridged, supply: thousandths(bridged * 0.6),
		price: cents(0.8 + r.Float64()*14), updated: start.Add(-time.Duration(1+r.IntN(200)) * time.Hour),
	}
}

func (o *offer) move(r *rand.Rand, at time.Time) {
	o.supply = thousandths(min(max(o.supply*(1+(r.Float64()-0.52)/40), 1), o.bridged))
	o.price = cents(max(o.price*(1+(r.Float64()-0.5)/30), 0.2))
	o.updated = at
}

// share is one ticker.
type share struct {
	symbol   string
	fund     bool
	base     float64 // price it wanders around
	price    float64
	previous float64
	volume   int64
	count    int64 // shares in issue
	traded   time.Time
}

// trade moves about half of the prices.
func (w *World) trade(r *rand.Rand, at time.Time) {
	for _, s := range w.shares {
		noise, size := r.Float64()-0.5, r.IntN(5000)
		if r.IntN(2) == 0 {
			continue
		}
		s.price = cents(max(s.price+(s.base-s.price)*0.02+s.base*0.01*noise, 0.05))
		s.volume += int64(100 + size)
		s.traded = at
	}
}

func cents(v float64) float64 { return math.Round(v*100) / 100 }

func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }
