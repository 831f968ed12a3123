package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"carbond/store"
)

// maxTickers bounds the series of prices.
const maxTickers = 100

// marketCollector publishes what the views say of the market.
type marketCollector struct {
	snapshot func() *store.Snapshot
	price    *prometheus.Desc
	supply   *prometheus.Desc
}

func newMarketCollector(snapshot func() *store.Snapshot) *marketCollector {
	return &marketCollector{
		snapshot: snapshot,
		price:    prometheus.NewDesc("carbond_finance_price", "Newest price of a ticker, in its own currency; of the first 100 tickers.", []string{"ticker", "currency"}, nil),
		supply:   prometheus.NewDesc("carbond_projects_supply_credits", "Sum of the supply of all projects for which it is a finite number.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *marketCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.price
	ch <- c.supply
}

// Collect implements prometheus.Collector.
func (c *marketCollector) Collect(ch chan<- prometheus.Metric) {
	s, n := c.snapshot(), 0
	for q := range s.Quotes("", "") {
		if n++; n > maxTickers {
			break
		}
		ch <- prometheus.MustNewConstMetric(c.price, prometheus.GaugeValue, q.Price, q.Ticker, q.Currency)
	}
	sum := 0.0
	for t := range s.Totals("") { // one, or none without projects
		sum = t.Supply
	}
	ch <- prometheus.MustNewConstMetric(c.supply, prometheus.GaugeValue, sum)
}
