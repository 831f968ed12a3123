package changelog

import (
	"sync"
	"time"

	"carbond/store/change"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxGroupSeries bounds the groups that have series of their own: a name is
	// chosen by a client, and every name is a series for ever.
	maxGroupSeries = 100
	// groupsFor is how long a look at the groups is used for: the lag in seconds
	// is read from the log, and scrapers come in numbers.
	groupsFor = 5 * time.Second
)

// groupCollector shows the lag of the consumer groups. Series exist as long as
// the group does.
type groupCollector struct {
	log              Log
	now              func() time.Time
	count, hidden    *prometheus.Desc
	records, seconds *prometheus.Desc

	mu   sync.Mutex // guards what follows
	at   time.Time
	last []change.Group
}

func newGroupCollector(log Log, now func() time.Time) *groupCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("carbond_changelog_"+name, help, labels, nil)
	}
	return &groupCollector{
		log: log, now: now,
		count:   desc("consumer_groups", "Consumer groups."),
		hidden:  desc("consumer_groups_without_series", "Consumer groups beyond the number that have lag metrics."),
		records: desc("consumer_lag_records", "Records of a topic that a consumer group has not committed.", "group", "topic"),
		seconds: desc("consumer_lag_seconds", "Age of the oldest record of a topic that a consumer group has not committed.", "group", "topic"),
	}
}

// Describe implements prometheus.Collector.
func (c *groupCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.hidden, c.records, c.seconds} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *groupCollector) Collect(ch chan<- prometheus.Metric) {
	groups := c.groups()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.count, float64(len(groups)))
	gauge(c.hidden, float64(max(0, len(groups)-maxGroupSeries)))
	for _, g := range groups[:min(len(groups), maxGroupSeries)] {
		for _, t := range g.Topics {
			gauge(c.records, float64(t.Lag), g.Name, t.Topic)
			gauge(c.seconds, t.LagTime.Seconds(), g.Name, t.Topic)
		}
	}
}

func (c *groupCollector) groups() []change.Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.at.IsZero() || now.Sub(c.at) >= groupsFor {
		c.at, c.last = now, c.log.Groups()
	}
	return c.last
}
