package sample

// Mark is in every name and headline.
const Mark = "SAMPLE DATA"

// Numbers of the invented projects lie far above those that registries give out:
// VCS-90001 to VCS-90240, then GS-90241 and so on.
const (
	firstNumber   = 90001
	registryCount = 240 // projects of the registry that the world serves
	marketCount   = 60  // of other registries, which the marketplace alone knows
)

// country is a country as the registry spells it, which is not how carbond does.
type country struct {
	name, region string
	lat, long    float64 // somewhere in it
}

// countries begin with those that have most projects.
var countries = []country{
	{"Brazil", "Latin America", -9.2, -56.1},
	{"India", "Asia", 21.9, 77.4},
	{"China", "Asia", 34.1, 108.8},
	{"Kenya", "Africa", 0.4, 37.6},
	{"Indonesia", "Asia", -1.3, 113.9},
	{"Peru", "Latin America", -9.6, -74.8},
	{"Colombia", "Latin America", 3.9, -73.1},
	{"Uganda", "Africa", 1.3, 32.4},
	{"United States", "North America", 39.8, -98.6},
	{"Viet Nam", "Asia", 16.2, 107.3},
	{"Türkiye", "Europe", 39.1, 35.2},
	{"Congo, The Democratic Republic of The", "Africa", -2.9, 23.6},
	{"Tanzania, United Republic of", "Africa", -6.3, 34.8},
	{"Mexico", "Latin America", 23.9, -102.5},
	{"Malawi", "Africa", -13.2, 34.3},
	{"Cambodia", "Asia", 12.7, 104.9},
	{"Rwanda", "Africa", -1.9, 29.9},
	{"Madagascar", "Africa", -19.4, 46.7},
	{"Bolivia, Plurinational State of", "Latin America", -16.7, -64.7},
	{"Ghana", "Africa", 7.9, -1.2},
	{"Lao People's Democratic Republic", "Asia", 18.5, 103.8},
	{"Guatemala", "Latin America", 15.7, -90.4},
	{"Thailand", "Asia", 15.1, 101.0},
	{"Mozambique", "Africa", -17.3, 35.5},
	{"Bangladesh", "Asia", 23.9, 90.3},
	{"Chile", "Latin America", -35.7, -71.5},
	{"Zambia", "Africa", -13.5, 27.8},
	{"Australia", "Oceania", -25.6, 134.5},
	{"Spain", "Europe", 40.2, -3.6},
}

// kind is a kind of project; price is that of a credit of this year in US dollars.
type kind struct {
	scope, method, category, noun string
	price                         float64
}

var kinds = []kind{
	{"Agriculture Forestry and Other Land Use", "VM0009 (Version 3.0)", "Forestry", "Forest Conservation", 8.5},
	{"Energy industries (renewable/non-renewable sources)", "ACM0002 (Version 20.0)", "Renewable Energy", "Wind Park", 2.4},
	{"Energy demand", "VMR0006 (Version 1.2)", "Energy Efficiency", "Cookstove Programme", 5.6},
	{"Agriculture Forestry and Other Land Use", "VM0033 (Version 2.1)", "Blue Carbon", "Mangrove Restoration", 26},
	{"Waste handling and disposal", "ACM0001 (Version 19.0)", "Waste Disposal", "Landfill Gas", 3.9},
	{"Energy industries (renewable/non-renewable sources)", "AMS-I.D. (Version 18.0)", "Renewable Energy", "Solar Plant", 2.7},
	{"Agriculture Forestry and Other Land Use", "VM0042 (Version 2.0)", "Agriculture", "Soil Carbon Farming", 18},
	{"Agriculture Forestry and Other Land Use", "VM0047 (Version 1.0)", "Forestry", "Reforestation", 21},
	{"Livestock and manure management", "AMS-III.R. (Version 5.0)", "Agriculture", "Farm Biogas", 6.8},
}

// others are the kinds of the registries that the marketplace alone knows.
var others = []struct {
	registry string
	kind
}{
	{"GS", kind{method: "TPDDTEC", category: "Energy Efficiency", noun: "Clean Cooking", price: 9.2}},
	{"ACR", kind{method: "ACR-IFM", category: "Forestry", noun: "Managed Forest", price: 13}},
	{"GS", kind{method: "AMS-III.AV.", category: "Energy Efficiency", noun: "Safe Water Wells", price: 7.4}},
	{"CAR", kind{method: "CAR-LIVESTOCK", category: "Agriculture", noun: "Dairy Methane", price: 11}},
	{"PURO", kind{method: "PURO-BIOCHAR", category: "Industrial Processing", noun: "Biochar Kiln", price: 148}},
	{"GS", kind{method: "GS-AR", category: "Forestry", noun: "Community Planting", price: 24}},
	{"ICR", kind{method: "AMS-I.D.", category: "Renewable Energy", noun: "Rooftop Solar", price: 3.1}},
	{"PURO", kind{method: "PURO-ERW", category: "Industrial Processing", noun: "Rock Weathering", price: 290}},
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
	firsts = []string{
		"Amber", "Copper", "Jade", "Marble", "Otter", "Quill", "Saffron", "Thistle", "Umber", "Willow", "Cobalt", "Ember",
		"Fennel", "Garnet", "Heron", "Indigo", "Juniper", "Kestrel", "Laurel", "Mallow", "Nettle", "Opal", "Plover", "Russet",
	}
	seconds = []string{
		"Basin", "Coast", "Delta", "Hollow", "Ridge", "Terrace", "Valley", "Plateau", "Bend", "Marsh", "Grove", "Ford", "Heath", "Springs",
	}
)

// places is how many different places there are.
const places = 24 * 14

// place returns the i-th invented place.
func place(i int) string {
	return firsts[i%len(firsts)] + " " + seconds[(i/len(firsts)+i)%len(seconds)]
}

// tickers are those that carbond follows, near the level at which they traded in 2026,
// with roundish figures of their own.
var tickers = []struct {
	symbol string
	price  float64 // US dollars
	count  int64   // shares in issue, millions
	volume int64   // of a day, thousands
	fund   bool    // it has net assets in place of a market cap
}{
	{"KRBN", 31, 5, 40, true},
	{"KCCA", 15, 7, 35, true},
	{"GRN", 28, 1, 6, true},
	{"ICLN", 16, 110, 2200, true},
	{"TAN", 46, 18, 600, true},
	{"QCLN", 42, 12, 90, true},
	{"PBW", 30, 16, 400, true},
	{"NEE", 82, 2060, 9500, false},
	{"BEP", 28, 285, 600, false},
	{"BEPC", 38, 180, 800, false},
	{"AQN", 6, 768, 4200, false},
	{"CWEN", 33, 118, 900, false},
	{"ORA", 105, 61, 500, false},
	{"CEG", 355, 312, 2600, false},
	{"VST", 180, 339, 4800, false},
	{"DUK", 122, 777, 3300, false},
	{"SO", 92, 1100, 4600, false},
	{"ENPH", 33, 131, 6000, false},
	{"FSLR", 255, 107, 2100, false},
	{"SEDG", 34, 59, 3200, false},
	{"RUN", 18, 230, 9000, false},
	{"NXT", 92, 148, 2500, false},
	{"LIN", 425, 469, 2100, false},
	{"APD", 260, 223, 1400, false},
	{"PLUG", 2.3, 1390, 80_000, false},
	{"FCEL", 8.5, 32, 1900, false},
	{"BE", 105, 236, 12_000, false},
	{"CLNE", 2.4, 219, 1200, false},
	{"TSLA", 430, 3320, 78_000, false},
	{"NIO", 6.1, 2450, 44_000, false},
	{"XPEV", 21, 953, 9000, false},
	{"LI", 19, 1010, 4300, false},
	{"RIVN", 15.5, 1220, 36_000, false},
	{"CHPT", 10, 23, 700, false},
	{"BLNK", 1.3, 114, 3000, false},
	{"ALB", 120, 118, 3400, false},
	{"SQM", 62, 286, 1500, false},
	{"LAC", 5.2, 300, 15_000, false},
	{"WM", 215, 403, 1700, false},
	{"RSG", 214, 312, 1200, false},
	{"OXY", 42, 985, 9500, false},
	{"EQNR", 23.5, 2600, 3600, false},
	{"ICE", 155, 572, 2900, false},
	{"CME", 272, 360, 2000, false},
	{"HASI", 32, 124, 1000, false},
	{"GEV", 600, 272, 2700, false},
	{"MSFT", 490, 7430, 22_000, false},
}

// outlet is one invented news source.
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

// Slugs are the names in small letters, as the feeds make them of names.
func newOutlets() []*outlet {
	return []*outlet{
		{slug: "verdant-wire", name: "Verdant Wire", form: formGDELT, domain: "verdant-wire.example"},
		{slug: "harbour-press", name: "Harbour Press", form: formGDELT, domain: "harbour-press.example"},
		{slug: "the-lantern", name: "The Lantern"},
		{slug: "northgate-news", name: "Northgate News"},
		{slug: "meridian-markets", name: "Meridian Markets"},
		{slug: "tidewater-times", name: "Tidewater Times"},
		{slug: "quayside-business", name: "Quayside Business"},
		{slug: "offset-observer", name: "Offset Observer"},
		{slug: "canopy-journal", name: "Canopy Journal", form: formAtom},
		{slug: "radio-alder", name: "Radio Alder", form: formRDF},
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
	{"Cookstove credits of %s are cut after a review of carbon offsets", "Invented: the new baseline counts less fuel wood."},
	{"Airline signs ten-year deal for carbon removals from %s", "Invented: biochar makes up half of the volume."},
	{"%s exchange lists futures on carbon credits", "Invented: the first contract is for nature-based vintages of 2024."},
	{"Soil carbon: farmers of %s wait for their first issuance", "Invented: sampling took a season longer than planned."},
	{"Emissions trading: %s tightens the cap for cement", "Invented: free allowances end two years earlier."},
	{"Older vintages of %s wind credits trade at a discount", "Invented: buyers in the voluntary carbon market prefer recent years."},
	{"Football club of %s unveils a new stadium", "Invented: the ground would seat 40,000 people."},
}
