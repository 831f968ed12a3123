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
	// Calendar is what day and hour it is in the world at Start: it decides about market
	// hours and weekends, and only about them. Zero = Start.
	Calendar time.Time
	// Speed is how many times faster than life things happen; 0 = 1. The calendar turns as
	// much faster; what happens is dated by the clock all the same, so that nothing lies in
	// the future of whoever asks.
	Speed float64
}

// tick is the time between two steps of the world, in the world.
const tick = 5 * time.Second

// World is the invented state behind the servers. Its size does not grow with its age:
// units of one project and vintage are one row of a ledger, and outlets forget old stories.
type World struct {
	opt Options

	mu            sync.Mutex // guards all below
	step          int64
	projects      []*project // of the registry
	issuances     []*units
	retirements   []*units
	cancellations []*units
	offers        []*offer
	shares        []*share
	trading       bool // the market was open at the last step
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
	if opt.Speed <= 0 {
		opt.Speed = 1
	}
	opt.Start = opt.Start.UTC().Truncate(time.Second)
	if opt.Calendar.IsZero() {
		opt.Calendar = opt.Start
	}
	w := &World{opt: opt, nextEntity: 910_000_000_000, faults: map[string]Fault{}, requests: map[string]int{}}
	w.populate(rand.New(rand.NewPCG(opt.Seed, 0)))
	return w
}

// at is when a step happens by the clock.
func (w *World) at(step int64) time.Time {
	return w.opt.Start.Add(time.Duration(float64(step) * float64(tick) / w.opt.Speed))
}

// advance brings the world to now. Each step draws from a source of its own, so
// it does not matter how often anybody looks. The caller holds mu.
func (w *World) advance() {
	target := int64(float64(w.opt.Now().Sub(w.opt.Start)) * w.opt.Speed / float64(tick))
	for w.step < target {
		w.step++
		r := rand.New(rand.NewPCG(w.opt.Seed, uint64(w.step)))
		at, calendar := w.at(w.step), w.opt.Calendar.Add(time.Duration(w.step)*tick)
		w.trade(r, at, calendar)
		if often(r, 20*time.Second) {
			w.retire(r, at)
		}
		if often(r, 2*time.Minute) {
			w.issue(r, at)
		}
		if often(r, 8*time.Second) {
			w.offers[r.IntN(len(w.offers))].move(r, at)
		}
		pace := 20 * time.Minute
		if h, d := calendar.Hour(), calendar.Weekday(); d != time.Saturday && d != time.Sunday && h >= 6 && h < 20 {
			pace = 5 * time.Minute
		}
		if often(r, pace) {
			w.story(r, w.outlets[r.IntN(len(w.outlets))], at)
		}
	}
}

// often is true in as many steps as make one in every.
func often(r *rand.Rand, every time.Duration) bool { return r.Float64() < float64(tick)/float64(every) }

func (w *World) entity() int64 {
	w.nextEntity++
	return w.nextEntity
}

// populate invents the world before its first step.
func (w *World) populate(r *rand.Rand) {
	for i := range registryCount + marketCount {
		p := w.newProject(r, i)
		if p.registry == "VCS" {
			w.projects = append(w.projects, p)
			if p.state.active {
				w.history(r, p)
			}
		}
		if p.registry != "VCS" || i%5 < 3 {
			w.offers = append(w.offers, newOffer(r, p, w.opt.Start))
		}
	}
	w.shares = newShares(r, w.opt.Start, w.opt.Calendar)
	w.outlets = newOutlets()
	for i := 8 * len(w.outlets); i > 0; i-- { // the first outlet has the newest story
		w.story(r, w.outlets[(i-1)%len(w.outlets)], w.opt.Start.Add(-time.Duration(i)*17*time.Minute))
	}
}

func cents(v float64) float64 { return math.Round(v*100) / 100 }

func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }
