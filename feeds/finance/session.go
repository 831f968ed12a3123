package finance

import (
	"slices"
	"time"

	"carbond/feeds/internal/text"
)

// Session is the regular trading session of a ticker's exchange that is under way
// or next, as an answer has it: holidays and short days are in it.
type Session struct {
	Exchange   string
	Start, End int64 // unix seconds
}

// newYorkZone is that of the exchanges whose calendar is known here.
const newYorkZone = "America/New_York"

// session takes over what an answer says of a ticker's hours. New York has a
// calendar of its own here, which knows the future too.
func (c *collector) session(symbol string, m meta) {
	start, ok := m.Period.Regular.Start.Int()
	end, ok2 := m.Period.Regular.End.Int()
	exchange := text.Clean(m.Exchange.String(), 20)
	if !ok || !ok2 || end <= start || end-start > 86400 || exchange == "" || m.Zone.String() == newYorkZone {
		return
	}
	if c.res.Sessions == nil {
		c.res.Sessions = map[string]Session{}
	}
	c.res.Sessions[symbol] = Session{Exchange: exchange, Start: start, End: end}
}

// exchanges remembers the sessions of exchanges other than New York's.
type exchanges struct {
	Of     map[string]string  `json:"of,omitempty"`     // ticker -> exchange
	Starts map[string][]int64 `json:"starts,omitempty"` // the last sessions, in order
	Ends   map[string]int64   `json:"ends,omitempty"`   // end of the last of them
}

// maxSessions is how many sessions of an exchange are remembered.
const maxSessions = 2 * DelistedAfter

func (x *exchanges) take(sessions map[string]Session) {
	if x.Of == nil || x.Starts == nil || x.Ends == nil {
		x.Of, x.Starts, x.Ends = map[string]string{}, map[string][]int64{}, map[string]int64{}
	}
	for ticker, s := range sessions {
		x.Of[ticker] = s.Exchange
		starts := x.Starts[s.Exchange]
		if n := len(starts); n == 0 || s.Start > starts[n-1] {
			starts = append(starts, s.Start)
			x.Starts[s.Exchange] = slices.Clone(starts[max(0, len(starts)-maxSessions):])
			x.Ends[s.Exchange] = s.End
		}
	}
}

// open reports whether any exchange of the tickers is in its session, and when
// the next one is known to open.
func (x *exchanges) open(tickers []string, now time.Time) (open bool, next time.Time) {
	newYork := len(tickers) == 0
	for _, t := range tickers {
		e, other := x.Of[t]
		if newYork = newYork || !other; !other {
			continue
		}
		start, end := x.Starts[e][len(x.Starts[e])-1], x.Ends[e]
		for end <= now.Unix() { // until an answer says otherwise, the next day is like it
			start, end = start+86400, end+86400
		}
		if at := time.Unix(start, 0); !at.After(now) {
			return true, now
		} else if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if newYork {
		if Open(now) {
			return true, now
		}
		if at := NextOpen(now); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return false, next
}

// silent reports whether a ticker has had no price for DelistedAfter sessions of
// its exchange.
func (x *exchanges) silent(ticker string, last, now time.Time) bool {
	e, ok := x.Of[ticker]
	if !ok {
		return PossiblyDelisted(last, now)
	}
	n := 0
	for _, start := range x.Starts[e] {
		if start > last.Unix() && start < now.Unix() {
			n++
		}
	}
	return n > DelistedAfter // the newest may still be under way
}
