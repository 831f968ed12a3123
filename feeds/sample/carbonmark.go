package sample

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (w *World) carbonmarkRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+CarbonmarkPath+"/carbonProjects", w.carbonProjects)
	mux.HandleFunc("GET "+CarbonmarkPath+"/prices", w.prices)
}

func (o *offer) key() string { return fmt.Sprintf("VCS-%d", o.project.number) }

func (o *offer) object() object {
	k := o.project.kind
	return object{
		"key": o.key(), "projectID": strconv.FormatInt(o.project.number, 10), "name": o.project.name,
		"country": o.project.country.name, "region": o.project.country.region, "registry": "VCS",
		"methodologies": []object{{"id": strings.Fields(k.method)[0], "category": k.category, "name": k.noun}},
		"vintages":      []string{strconv.Itoa(o.vintage)}, "price": strconv.FormatFloat(o.price, 'f', -1, 64),
		"hasSupply":                   o.supply > 0,
		"stats":                       object{"totalBridged": o.bridged, "totalRetired": thousandths(o.bridged - o.supply), "totalSupply": o.supply},
		"sustainableDevelopmentGoals": []string{"13"}, "description": "Invented description of " + o.project.name + ".",
		"short_description": nil, "long_description": nil, "location": nil,
		"url":    fmt.Sprintf("https://example.org/sample/project/%d", o.project.number),
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
			if fits(q.Get("country"), p.country.name) && fits(q.Get("category"), p.kind.category) && fits(q.Get("vintage"), strconv.Itoa(o.vintage)) &&
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
			if only == "" || slices.Contains(strings.Split(only, ","), o.key()) {
				list = append(list, o.priceObject())
			}
		}
	})
	reply(rw, http.StatusOK, list)
}

func (o *offer) priceObject() object {
	id := fmt.Sprintf("0x%064x", o.project.entity)
	name := fmt.Sprintf("%s-%d", o.key(), o.vintage)
	return object{
		"sourceId": "listing-137-" + id, "type": "listing", "purchasePrice": cents(o.price * 1.1), "baseUnitPrice": o.price,
		"supply": o.supply, "liquidSupply": o.supply, "minFillAmount": 1,
		"listing": object{
			"id": id, "creditId": object{"vintage": o.vintage, "projectId": o.key()},
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
