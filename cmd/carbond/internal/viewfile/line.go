package viewfile

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"carbond/store/change"
)

// liner writes lines. Its bytes are valid until the next line.
type liner struct {
	b   []byte
	buf bytes.Buffer
	enc *json.Encoder
}

// delta returns the line of a delta.
func (l *liner) delta(x *change.Delta, ms int64) []byte {
	l.b = append(l.b[:0], '{')
	switch {
	case x.Project != nil:
		p := x.Project
		l.text("project_id", p.ProjectID)
		l.text("project_name", p.ProjectName)
		l.text("registry_status", p.RegistryStatus)
		l.text("country", p.Country)
		l.integer("vintage", int64(p.Vintage))
		l.number("supply", p.Supply)
	case x.News != nil:
		n := x.News
		l.text("guid", n.GUID)
		l.text("title", n.Title)
		l.text("link", n.Link)
		l.text("published", n.Published)
		l.text("source", n.Source)
		l.text("summary", n.Summary)
	case x.Quote != nil:
		q := x.Quote
		l.text("ticker", q.Ticker)
		l.number("price", q.Price)
		l.integer("volume", q.Volume)
		l.number("market_cap", q.MarketCap)
		l.number("change_percent", q.ChangePercent)
		l.integer("timestamp", q.Timestamp)
	}
	l.integer("diff", int64(x.Diff))
	l.integer("time", ms)
	l.b = append(l.b, "}\n"...)
	return l.b
}

func (l *liner) name(s string) {
	if len(l.b) > 1 {
		l.b = append(l.b, ',')
	}
	l.b = append(l.b, '"')
	l.b = append(l.b, s...)
	l.b = append(l.b, `":`...)
}

func (l *liner) text(name, s string) {
	l.name(name)
	if l.enc == nil {
		l.enc = json.NewEncoder(&l.buf)
		l.enc.SetEscapeHTML(false)
	}
	l.buf.Reset()
	_ = l.enc.Encode(s) // a string into memory cannot fail
	l.b = append(l.b, bytes.TrimSuffix(l.buf.Bytes(), []byte("\n"))...)
}

func (l *liner) integer(name string, n int64) {
	l.name(name)
	l.b = strconv.AppendInt(l.b, n, 10)
}

// number writes a number, and what JSON has no number for as Postgres spells it.
func (l *liner) number(name string, f float64) {
	l.name(name)
	switch {
	case math.IsNaN(f):
		l.b = append(l.b, `"NaN"`...)
	case math.IsInf(f, 1):
		l.b = append(l.b, `"Infinity"`...)
	case math.IsInf(f, -1):
		l.b = append(l.b, `"-Infinity"`...)
	case f != 0 && (math.Abs(f) < 1e-6 || math.Abs(f) >= 1e15):
		l.b = strconv.AppendFloat(l.b, f, 'e', -1, 64)
	default:
		l.b = strconv.AppendFloat(l.b, f, 'f', -1, 64)
	}
}

// millis is a time in ms since 1970, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
