package sample

import (
	"fmt"
	"math/rand/v2"
	"time"

	"carbond/feeds/finance"
)

// Mark is in every name and headline.
const Mark = "SAMPLE DATA"

// Numbers of the invented projects lie far above those that the registry gives
// out: VCS-90001 to VCS-90040.
const (
	firstNumber  = 90001
	projectCount = 40
)

// country is a country as the registry spells it, which is not how carbond does.
type country struct{ name, region string }

var countries = []country{
	{"Brazil", "Latin America"},
	{"India", "Asia"},
	{"Indonesia", "Asia"},
	{"Kenya", "Africa"},
	{"Congo, The Democratic Republic of The", "Africa"},
	{"Peru", "Latin America"},
	{"Tanzania, United Republic of", "Africa"},
	{"Viet Nam", "Asia"},
	{"Colombia", "Latin America"},
	{"Türkiye", "Europe"},
	{"Bolivia, Plurinational State of", "Latin America"},
	{"United States", "North America"},
}

// kind is a kind of project.
type kind struct{ scope, method, category, noun string }

var kinds = []kind{
	{"Agriculture Forestry and Other Land Use", "VM0009 (Version 3.0)", "Forestry", "Forest Conservation"},
	{"Energy industries (renewable/non-renewable sources)", "ACM0002 (Version 20.0)", "Renewable Energy", "Wind Park"},
	{"Energy demand", "VMR0006 (Version 1.2)", "Energy Efficiency", "Cookstove Programme"},
	{"Agriculture Forestry and Other Land Use", "VM0033 (Version 2.1)", "Blue Carbon", "Mangrove Restoration"},
	{"Waste handling and disposal", "ACM0001 (Version 19.0)", "Waste Disposal", "Landfill Gas"},
	{"Energy industries (renewable/non-renewable sources)", "AMS-I.D. (Version 18.0)", "Renewable Energy", "Solar Plant"},
	{"Agriculture Forestry and Other Land Use", "VM0042 (Version 2.0)", "Agriculture", "Soil Carbon Farming"},
}

// state is a project state as the registry has it.
type state struct {
	code, label string
	active      bool // units may be issued
}

var states = []state{
	{"REGISTERED", "Registered", true},
	{"REGISTERED", "Registered", true},
	{"LATE_TO_VERIFY", "Late to verify", true},
	{"REGISTERED", "Registered", true},
	{"DEVELOPMENT", "Under development", false},
	{"REGISTERED", "Registered", true},
	{"VERIFICATION_APPROVAL_REQUESTED", "Verification approval requested", true},
	{"REGISTRATION_REQUESTED", "Registration requested", false},
	{"REGISTERED", "Registered", true},
	{"ON_HOLD", "On Hold", false},
	{"REGISTERED", "Registered", true},
	{"UNDER_VAL_COMMENT_PERIOD", "Under validation", false},
	{"REGISTERED", "Registered", true},
	{"WITHDRAWN", "Withdrawn", false},
	{"REGISTERED", "Registered", true},
	{"REJECTED_BY_ADMIN", "Rejected by Administrator", false},
	{"REGISTERED", "Registered", true},
}

// Words that invented places are made of.
var (
	firsts  = []string{"Amber", "Copper", "Jade", "Marble", "Otter", "Quill", "Saffron", "Thistle", "Umber", "Willow"}
	seconds = []string{"Basin", "Coast", "Delta", "Hollow", "Ridge", "Terrace", "Valley"}
)

// place returns the i-th invented place.
func place(i int) string {
	return firsts[i%len(firsts)] + " " + seconds[(i/len(firsts)+i)%len(seconds)]
}

func projectName(i int) string {
	return fmt.Sprintf("%s: %s %s", Mark, place(i), kinds[i%len(kinds)].noun)
}

// funds are the tickers that have net assets in place of a market cap.
var funds = map[string]bool{"KRBN": true, "KCCA": true, "GRN": true, "ICLN": true, "TAN": true, "QCLN": true, "PBW": true}

func newShares(r *rand.Rand, start time.Time) []*share {
	var out []*share
	for _, symbol := range finance.DefaultTickers() {
		base := cents(5 + r.Float64()*200)
		previous := cents(base * (1 + (r.Float64()-0.5)/20))
		out = append(out, &share{
			symbol: symbol, fund: funds[symbol], base: base, price: base, previous: previous,
			volume: int64(50_000 + r.IntN(900_000)), count: int64(10_000_000 + r.IntN(2_000_000_000)),
			traded: start.Add(-time.Duration(1+r.IntN(50)) * time.Second),
		})
	}
	return out
}

// outlet is one news source.
type outlet struct {
	slug, name string
	form       form
	domain     string // of a GDELT outlet
	stories    []story
}

// form is the kind of document that an outlet publishes.
type form uint8

const (
	formRSS form = iota
	formAtom
	formRDF
	formGDELT
)

func newOutlets() []*outlet {
	return []*outlet{
		{slug: "reuters", name: "Reuters", form: formGDELT, domain: "reuters.com"},
		{slug: "ap", name: "Associated Press", form: formGDELT, domain: "apnews.com"},
		{slug: "guardian", name: "The Guardian"},
		{slug: "bbc", name: "BBC"},
		{slug: "bloomberg", name: "Bloomberg"},
		{slug: "ft", name: "Financial Times"},
		{slug: "cnbc", name: "CNBC"},
		{slug: "carbon-pulse", name: "Carbon Pulse"},
		{slug: "climate-home", name: "Climate Home News", form: formAtom},
		{slug: "dw", name: "Deutsche Welle", form: formRDF},
	}
}

// headlines are filled with an invented place. The last one has nothing to do
// with carbon markets and must be filtered out.
var headlines = []struct{ title, summary string }{
	{"Carbon credit prices rise after %s auction", "Invented: buyers paid more for removals than a week before."},
	{"Carbon market regulator of %s opens consultation", "Invented: comments on the emissions trading draft are due in spring."},
	{"%s forest project adds carbon offsets to the registry", "Invented: auditors confirmed the baseline of the REDD+ scheme."},
	{"Direct air capture plant planned near %s", "Invented: the operator wants to sell carbon removals to airlines."},
	{"%s council moves its net-zero date forward", "Invented: the plan leans on wind power and heat pumps."},
	{"Cap-and-trade permits of %s sell out", "Invented: the carbon allowance sale cleared above the floor price."},
	{"Blue carbon: mangroves of %s store more than thought", "Invented: a survey doubled the estimate for the estuary."},
	{"Football club of %s unveils a new stadium", "Invented: the ground would seat 40,000 people."},
}

// story is one headline.
type story struct {
	number         int
	title, summary string
	at             time.Time
}

// write publishes a fresh headline somewhere.
func (w *World) write(r *rand.Rand, at time.Time) {
	w.story(r, w.outlets[r.IntN(len(w.outlets))], at)
}

func (w *World) story(r *rand.Rand, o *outlet, at time.Time) {
	w.nextStory++
	h := headlines[r.IntN(len(headlines))]
	o.stories = append(o.stories, story{
		number: w.nextStory, title: fmt.Sprintf("%s: "+h.title+" (no. %d)", Mark, place(r.IntN(70)), w.nextStory),
		summary: Mark + ". " + h.summary, at: at,
	})
	if n := len(o.stories) - maxStories; n > 0 {
		o.stories = append(o.stories[:0:0], o.stories[n:]...)
	}
}
