package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (w *World) carbonmarkRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+CarbonmarkPath+"/carbonProjects", w.carbonProjects)
	mux.HandleFunc("GET "+CarbonmarkPath+"/prices", w.prices)
}

// offer is what the marketplace says of a project.
type offer struct {
	project  *project
	bridged  float64 // tonnes
	listings []*listing
	updated  time.Time
}

// listing is what is for sale of one vintage.
type listing struct {
	vintage int
	most    float64 // tonnes that were listed at first
	supply  float64 // tonnes left, with fractions
	fair    float64 // the price around which price moves
	price   float64 // US dollars
}

// newOffer invents an offer. Credits are dearer the younger they are, and by their kind;
// one project in eight has none for sale.
func newOffer(r *rand.Rand, p *project, start time.Time) *offer {
	o := &offer{project: p, updated: start.Add(-time.Duration(1+r.IntN(200)) * time.Hour)}
	quality := math.Exp(0.25 * r.NormFloat64())
	last := start.Year() - 1
	vintages := map[int]bool{}
	for range 1 + r.IntN(3) {
		age := r.IntN(last - p.since + 1)
		if vintages[age] || p.number%8 == 3 {
			continue
		}
		vintages[age] = true
		fair := max(p.kind.price*quality*math.Pow(0.93, float64(age)), 0.2)
		most := math.Round(500 + 40_000*r.Float64()*r.Float64())
		o.listings = append(o.listings, &listing{last - age, most, thousandths(most * (0.2 + 0.8*r.Float64())), fair, cents(fair)})
		o.bridged += most
	}
	return o
}

// move lets somebody buy from an offer, or its seller change the price.
func (o *offer) move(r *rand.Rand, at time.Time) {
	if len(o.listings) == 0 {
		return
	}
	l := o.listings[r.IntN(len(o.listings))]
	l.price = cents(max(l.price*(1+0.012*r.NormFloat64())+0.05*(l.fair-l.price), 0.1))
	if l.supply = thousandths(l.supply * (1 - 0.06*r.Float64())); l.supply < 0.05*l.most {
		l.supply = l.most // the seller has more
	}
	o.updated = at
}

func (o *offer) object() object {
	p, supply, cheapest := o.project, 0.0, 0.0
	vintages := []string{}
	for _, l := range o.listings {
		supply += l.supply
		vintages = append(vintages, strconv.Itoa(l.vintage))
		if cheapest == 0 || l.price < cheapest {
			cheapest = l.price
		}
	}
	supply = thousandths(supply)
	return object{
		"key": p.key(), "projectID": strconv.FormatInt(p.number, 10), "name": p.name,
		"country": p.country.name, "region": p.country.region, "registry": p.registry,
		"methodologies": []object{{"id": strings.Fields(p.kind.method)[0], "category": p.kind.category, "name": p.kind.noun}},
		"vintages":      vintages, "price": strconv.FormatFloat(cheapest, 'f', -1, 64),
		"hasSupply":                   supply > 0,
		"stats":                       object{"totalBridged": o.bridged, "totalRetired": thousandths(o.bridged - supply), "totalSupply": supply},
		"sustainableDevelopmentGoals": []string{"13"}, "description": "Invented description of " + p.name + ".",
		"short_description": nil, "long_description": nil, "location": nil,
		"url":    fmt.Sprintf("https://example.org/sample/project/%d", p.number),
		"images": []string{}, "coverImage": nil, "satelliteImage": nil, "updatedAt": o.updated.UTC().Format("2006-01-02T15:04:05Z"),
	}
}

// carbonProjects answers a page of projects.
func (w *World) carbonProjects(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err1 := whole(q.Get("limit"), 100)
	offset, err2 := whole(q.Get("offset"), 0)
	if err1 != nil || err2 != nil {
		reply(rw, http.StatusBadRequest, object{"statusCode": 400, "code": "FST_ERR_VALIDATION", "error": "Bad Request", "message": "querystring must be a number"})
		return
	}
	items := []object{}
	w.look(func() {
		for _, o := range w.offers {
			p := o.project
			dated := q.Get("vintage") == "" || slices.ContainsFunc(o.listings, func(l *listing) bool { return fits(q.Get("vintage"), strconv.Itoa(l.vintage)) })
			if dated && fits(q.Get("country"), p.country.name) && fits(q.Get("category"), p.kind.category) &&
				strings.Contains(strings.ToLower(p.name), strings.ToLower(q.Get("search"))) {
				items = append(items, o.object())
			}
		}
	})
	total := len(items)
	items = items[min(offset, total):min(offset+limit, total)]
	reply(rw, http.StatusOK, object{"items": items, "itemsCount": total})
}

// prices answers the offers, of all projects or those asked for.
func (w *World) prices(rw http.ResponseWriter, r *http.Request) {
	only := r.URL.Query().Get("projectIds")
	list := []object{}
	w.look(func() {
		for _, o := range w.offers {
			if only != "" && !slices.Contains(strings.Split(only, ","), o.project.key()) {
				continue
			}
			for _, l := range o.listings {
				list = append(list, l.object(o.project))
			}
		}
	})
	reply(rw, http.StatusOK, list)
}

func (l *listing) object(p *project) object {
	id := fmt.Sprintf("0x%060x%04d", p.entity, l.vintage)
	name := fmt.Sprintf("%s-%d", p.key(), l.vintage)
	return object{
		"sourceId": "listing-137-" + id, "type": "listing", "purchasePrice": cents(l.price * 1.1), "baseUnitPrice": l.price,
		"supply": l.supply, "liquidSupply": l.supply, "minFillAmount": 1,
		"listing": object{
			"id": id, "creditId": object{"vintage": l.vintage, "projectId": p.key()},
			"token": object{
				"id": id[:42] + "-0", "address": id[:42], "decimals": 18, "tokenStandard": "ERC20", "name": name,
				"isExAnte": false, "symbol": "TCO2-" + name, "tokenId": nil,
			},
			"sellerId": id[:42], "expiresAfter": "4102444800",
		},
	}
}

// whole reads a query parameter that is a number of at least zero.
func whole(s string, absent int) (int, error) {
	if s == "" {
		return absent, nil
	}
	n, err := strconv.ParseUint(s, 10, 20)
	return int(n), err
}

// fits reports whether a property passes a filter of one or several values.
func fits(filter, value string) bool {
	return filter == "" || slices.Contains(strings.Split(filter, ","), value) || filter == value
}
