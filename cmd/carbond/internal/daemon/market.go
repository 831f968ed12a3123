package daemon

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store"
	"carbond/store/change"
)

const (
	// maxTickers bounds the series of prices.
	maxTickers = 100
	// sumShare is how much of the time adding up the supply may take: beside a
	// million projects it is seconds old, beside a thousand it is not.
	sumShare = 100
)

// marketCollector publishes what the views say of the market.
type marketCollector struct {
	snapshot func() *store.Snapshot
	price    *prometheus.Desc
	supply   *prometheus.Desc

	mu    sync.Mutex
	sum   float64
	of    change.Offset // version of the view that sum is of
	after time.Time     // when it may be added up again
}

func newMarketCollector(snapshot func() *store.Snapshot) *marketCollector {
	return &marketCollector{
		snapshot: snapshot,
		price:    prometheus.NewDesc("carbond_finance_price", "Newest price of a ticker, in its own currency; of the first 100 tickers.", []string{"ticker", "currency"}, nil),
		supply:   prometheus.NewDesc("carbond_projects_supply_credits", "Sum of the supply of all projects.", nil, nil),
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
	ch <- prometheus.MustNewConstMetric(c.supply, prometheus.GaugeValue, c.total(s))
}

func (c *marketCollector) total(s *store.Snapshot) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	began, version := time.Now(), s.Version(change.ViewProjects, "")
	if version == c.of || began.Before(c.after) {
		return c.sum
	}
	c.sum, c.of = 0, version
	for p := range s.Projects("", "") {
		c.sum += p.Supply
	}
	now := time.Now()
	c.after = now.Add(sumShare * now.Sub(began))
	return c.sum
}
