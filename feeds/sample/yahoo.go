package sample

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"carbond/feeds/finance"
)

// What a quote needs, as at the real service.
const (
	cookieName  = "A3"
	cookieValue = "sample-cookie"
	crumb       = "sAmPlE.cRuMb"
	maxSymbols  = 20
)

func (w *World) yahooRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+FinancePath+"/cookie", setCookie)
	mux.HandleFunc("GET "+FinancePath+"/v1/test/getcrumb", getCrumb)
	mux.HandleFunc("GET "+FinancePath+"/v7/finance/spark", w.spark)
	mux.HandleFunc("GET "+FinancePath+"/v7/finance/quote", w.quote)
	mux.HandleFunc("GET "+FinancePath+"/v8/finance/chart/{symbol}", w.chart)
}

// share is one ticker.
type share struct {
	symbol   string
	fund     bool
	base     float64 // price it wanders around
	price    float64
	previous float64 // at the last close
	volume   int64   // of the day
	daily    int64   // volume of a usual day
	count    int64   // shares in issue
	traded   time.Time
}

func newShares(r *rand.Rand, start, calendar time.Time) []*share {
	last := start
	for !finance.Open(calendar) {
		last, calendar = last.Add(-time.Minute), calendar.Add(-time.Minute)
	}
	var out []*share
	for _, t := range tickers {
		base := t.price * math.Exp(0.05*r.NormFloat64())
		s := &share{
			symbol: t.symbol, fund: t.fund, base: base, price: cents(base), previous: cents(base * (1 + 0.012*r.NormFloat64())),
			daily: 1000 * t.volume, count: 1_000_000 * t.count, traded: last.Add(-time.Duration(1+r.IntN(50)) * time.Second),
		}
		s.volume = int64(float64(s.daily) * (0.2 + 0.8*r.Float64()))
		out = append(out, s)
	}
	return out
}

// session is the length of a day of trading.
const session = 6*time.Hour + 30*time.Minute

// trade moves prices while the market is open, each about twice a minute. The first
// prices of a day are some way off the last close.
func (w *World) trade(r *rand.Rand, at, calendar time.Time) {
	opens := !w.trading
	if w.trading = finance.Open(calendar); !w.trading {
		return
	}
	for _, s := range w.shares {
		noise, size := r.NormFloat64(), r.Float64()
		switch {
		case opens && w.step > 1:
			s.previous, s.volume = s.price, 0
			noise *= 5
		case !often(r, 30*time.Second):
			continue
		}
		s.price = cents(max(s.price*(1+0.0012*noise)+0.0003*(s.base-s.price), 0.05))
		s.volume += 1 + int64(2*size*float64(s.daily)*float64(30*time.Second)/float64(session))
		s.traded = at
	}
}

// setCookie answers 404 beside the cookie, as the real host does.
func setCookie(rw http.ResponseWriter, _ *http.Request) {
	http.SetCookie(rw, &http.Cookie{Name: cookieName, Value: cookieValue, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Error(rw, "Not Found", http.StatusNotFound)
}

func authorized(r *http.Request) bool {
	c, err := r.Cookie(cookieName)
	return err == nil && c.Value == cookieValue
}

func getCrumb(rw http.ResponseWriter, r *http.Request) {
	if !authorized(r) {
		unauthorized(rw, "Invalid Cookie")
		return
	}
	rw.Header().Set("Content-Type", "text/plain")
	_, _ = rw.Write([]byte(crumb))
}

func unauthorized(rw http.ResponseWriter, about string) {
	reply(rw, http.StatusUnauthorized, object{"finance": object{"result": nil, "error": object{"code": "Unauthorized", "description": about}}})
}

// symbols splits the symbols of a request; false when they are too many or none,
// which is answered.
func symbols(rw http.ResponseWriter, r *http.Request, service string) ([]string, bool) {
	list := strings.Split(r.URL.Query().Get("symbols"), ",")
	about := ""
	switch {
	case list[0] == "":
		about = "Missing value for the \"symbols\" argument"
	case len(list) > maxSymbols:
		about = "Invalid request: too many symbols"
	default:
		return list, true
	}
	reply(rw, http.StatusBadRequest, object{service: object{"result": nil, "error": object{"code": "Bad Request", "description": about}}})
	return nil, false
}

// find returns the shares with the given symbols; unknown ones are left out.
func (w *World) listed(want []string) []*share {
	var out []*share
	for _, symbol := range want {
		for _, s := range w.shares {
			if s.symbol == symbol {
				out = append(out, s)
			}
		}
	}
	return out
}

func (s *share) kind() string {
	if s.fund {
		return "ETF"
	}
	return "EQUITY"
}

// meta is the block of current figures, with a few bars before it.
func (s *share) meta() (meta object, times []int64, closes []any) {
	at := s.traded.Unix()
	meta = object{
		"currency": "USD", "symbol": s.symbol, "exchangeName": "SMP", "fullExchangeName": Mark, "instrumentType": s.kind(),
		"regularMarketTime": at, "regularMarketPrice": s.price, "regularMarketVolume": s.volume,
		"longName": Mark + " " + s.symbol, "shortName": Mark + " " + s.symbol,
		"chartPreviousClose": s.previous, "previousClose": s.previous, "dataGranularity": "5m", "range": "1d",
		"timezone": "EST", "exchangeTimezoneName": "America/New_York", "gmtoffset": -18000, "priceHint": 2,
	}
	return meta, []int64{at - at%300 - 300, at - at%300}, []any{nil, s.price}
}

func (w *World) spark(rw http.ResponseWriter, r *http.Request) {
	want, ok := symbols(rw, r, "spark")
	if !ok {
		return
	}
	result := []object{}
	w.look(func() {
		for _, s := range w.listed(want) {
			meta, times, closes := s.meta()
			result = append(result, object{"symbol": s.symbol, "response": []object{{
				"meta": meta, "timestamp": times, "indicators": object{"quote": []object{{"close": closes}}},
			}}})
		}
	})
	reply(rw, http.StatusOK, object{"spark": object{"result": result, "error": nil}})
}

func (w *World) chart(rw http.ResponseWriter, r *http.Request) {
	var result []object
	w.look(func() {
		for _, s := range w.listed([]string{r.PathValue("symbol")}) {
			meta, times, closes := s.meta()
			result = append(result, object{"meta": meta, "timestamp": times, "indicators": object{"quote": []object{{"close": closes}}}})
		}
	})
	if result == nil {
		reply(rw, http.StatusNotFound, object{"chart": object{"result": nil, "error": object{"code": "Not Found", "description": "No data found, symbol may be delisted"}}})
		return
	}
	reply(rw, http.StatusOK, object{"chart": object{"result": result, "error": nil}})
}

func (w *World) quote(rw http.ResponseWriter, r *http.Request) {
	if !authorized(r) {
		unauthorized(rw, "User is unable to access this feature")
		return
	}
	if r.URL.Query().Get("crumb") != crumb {
		unauthorized(rw, "Invalid Crumb")
		return
	}
	want, ok := symbols(rw, r, "quoteResponse")
	if !ok {
		return
	}
	result := []object{}
	w.look(func() {
		for _, s := range w.listed(want) {
			result = append(result, s.quote())
		}
	})
	reply(rw, http.StatusOK, object{"quoteResponse": object{"result": result, "error": nil}})
}

func (s *share) quote() object {
	q := object{
		"language": "en-US", "region": "US", "quoteType": s.kind(), "typeDisp": s.kind(), "quoteSourceName": Mark,
		"currency": "USD", "marketState": "REGULAR", "exchange": "SMP", "shortName": Mark + " " + s.symbol, "longName": Mark + " " + s.symbol,
		"regularMarketChangePercent": (s.price - s.previous) / s.previous * 100, "regularMarketTime": s.traded.Unix(),
		"regularMarketPrice": s.price, "regularMarketVolume": s.volume, "regularMarketPreviousClose": s.previous,
		"fullExchangeName": Mark, "tradeable": false, "symbol": s.symbol,
	}
	if s.fund {
		q["netAssets"] = cents(s.price * float64(s.count))
	} else {
		q["marketCap"], q["sharesOutstanding"] = int64(s.price*float64(s.count)), s.count
	}
	return q
}
