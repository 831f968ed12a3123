package view

import (
	"iter"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/packed"
)

// Archive yields all news of a source, "" for all, newest first, each with its place:
// strictly after a place, "" for the newest. Of items with a time those from since on and
// before until; zero times are no bound, and with either one items without a time are
// left out.
func (s *State) Archive(source, after string, since, until time.Time) iter.Seq2[string, change.NewsItem] {
	return func(yield func(string, change.NewsItem) bool) {
		x, prefix := newsOrder, ""
		if source != "" {
			x, prefix = newsSource, source+"\x00"
		}
		from := after
		if newest := timePlace(until); !until.IsZero() && from < newest {
			from = newest
		}
		oldest := timePlace(since)
		var item change.NewsItem
		s.index[x].Ascend(prefix+from, func(it packed.Item) bool {
			place, ok := strings.CutPrefix(it.Key, prefix)
			switch {
			case !ok:
				return false
			case place == after && after != "":
				return true
			case (!since.IsZero() || !until.IsZero()) && place[0] != 0:
				return false // no times follow
			case !since.IsZero() && place[:maxOrder] > oldest:
				return false
			case !until.IsZero() && place[:maxOrder] == timePlace(until):
				return true
			}
			s.newsByID(&item, behindOrder(place, 0))
			return yield(place, item)
		})
	}
}

// timePlace is where the news of a moment begin.
func timePlace(t time.Time) string {
	at, _ := ReadInstant(change.T(t.UTC().Format("2006-01-02 15:04:05.999999+00")))
	k := at.appendTo(append(make([]byte, 0, maxOrder), 0))
	for i := 1; i < len(k); i++ {
		k[i] = ^k[i]
	}
	return string(k)
}

// Prices yields the rows of a ticker with timestamps from from to to, both included, in
// the order of time.
func (s *State) Prices(ticker string, from, to int64) iter.Seq[change.Quote] {
	return func(yield func(change.Quote) bool) {
		var q change.Quote
		last := numberedKey(ticker, to)
		s.Scan(Finance, numberedKey(ticker, from), func(e Entry) bool {
			if e.Key > last {
				return false
			}
			quoteRows.of(&q, e)
			return yield(q)
		})
	}
}
