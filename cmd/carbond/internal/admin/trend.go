package admin

import (
	"strconv"
	"time"
)

// The charts are drawn here, so that they need no script: a line over the last
// samples and its newest and highest value in words.
const chartWidth, chartHeight = 600, 60

func (m *markup) trend(c Console) {
	m.section("trend", "Last minutes")
	if len(c.History) < 3 || c.Every <= 0 {
		m.raw("<p>Charts come when there is something to draw.</p>\n")
		m.endSection()
		return
	}
	rate := make([]float64, 0, len(c.History)-1)
	for i, s := range c.History[1:] {
		// A copy from another source may begin the log again.
		rate = append(rate, float64(s.Offset-min(s.Offset, c.History[i].Offset))/c.Every.Seconds())
	}
	m.chart("Changes a second", rate, c.Every)
	if c.Replication != nil {
		lag := make([]float64, 0, len(c.History))
		for _, s := range c.History {
			lag = append(lag, s.Lag)
		}
		m.chart("Seconds behind Postgres", lag, c.Every)
	}
	m.endSection()
}

// chart draws one line. The words say what it shows; the drawing is for the eye
// alone.
func (m *markup) chart(what fixed, values []float64, every time.Duration) {
	high := 0.0
	for _, v := range values {
		high = max(high, v)
	}
	m.raw("<figure>\n<figcaption>", what)
	m.wrap(": ", figure(values[len(values)-1]), " now")
	m.wrap(", ", figure(high), " at most in the last ")
	m.wrap("", span(time.Duration(len(values))*every), "</figcaption>\n")
	m.raw("<svg aria-hidden=\"true\" viewBox=\"0 0 600 60\" preserveAspectRatio=\"none\"><path d=\"")
	for i, v := range values {
		x, y := chartWidth, float64(chartHeight-1)
		if len(values) > 1 {
			x = chartWidth * i / (len(values) - 1)
		}
		if high > 0 {
			y = 1 + (chartHeight-2)*(1-v/high)
		}
		command := fixed("L")
		if i == 0 {
			command = "M"
		}
		m.wrap(command, strconv.Itoa(x)+" "+strconv.Itoa(int(y)), "")
	}
	m.raw("\"/></svg>\n</figure>\n")
}

// figure prints a value with as many digits as one reads.
func figure(v float64) string {
	if v >= 10 || v == 0 {
		return count(uint64(v + 0.5))
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}
