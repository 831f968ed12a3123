package view

import (
	"iter"
	"math"
	"strings"

	"carbond/store/change"
	"carbond/store/internal/packed"
)

// Projects yields the projects view in byte order of project_id, strictly after
// the id after; country "" means all.
func (s *State) Projects(country, after string) iter.Seq[change.Project] {
	return func(yield func(change.Project) bool) {
		var p change.Project
		show := func(e Entry) bool {
			s.project(&p, e)
			return yield(p)
		}
		if country == "" {
			s.Scan(Verra, after, func(e Entry) bool {
				return e.Key == after && after != "" || show(e)
			})
			return
		}
		prefix := country + "\x00"
		s.index[byCountry].Ascend(prefix+after, func(it packed.Item) bool {
			id, ok := strings.CutPrefix(it.Key, prefix)
			if !ok {
				return false
			}
			if id == after && after != "" {
				return true
			}
			e, ok := s.Get(Verra, id)
			return !ok || show(e)
		})
	}
}

// project joins a Verra row with the Carbonmark row that SQL would pick.
func (s *State) project(p *change.Project, e Entry) {
	f := e.Schema.read(e.Row)
	if c, ok := s.partner(e.Key); ok {
		projectRows.read(p, &f, &c)
	} else {
		projectRows.read(p, &f)
	}
}

// partner returns the fields of the best Carbonmark row of a project.
func (s *State) partner(projectID string) (f fields, ok bool) {
	s.index[join].Descend(projectID+"\x00\xff", func(it packed.Item) bool {
		if len(it.Key) > len(projectID) && it.Key[len(projectID)] == 0 && it.Key[:len(projectID)] == projectID {
			var e Entry
			if e, ok = s.Get(Carbonmark, behindOrder(it.Key[len(projectID)+1:], 1)); ok {
				f = e.Schema.read(e.Row)
			}
		}
		return false
	})
	return f, ok
}

// Project returns all that is known of one project.
func (s *State) Project(id string) (change.ProjectDetail, bool) {
	e, ok := s.Get(Verra, id)
	if !ok {
		return change.ProjectDetail{}, false
	}
	var d change.ProjectDetail
	f := e.Schema.read(e.Row)
	if c, ok := s.partner(id); ok {
		detailRows.read(&d, &f, &c)
		d.Source = "verra+carbonmark"
	} else {
		detailRows.read(&d, &f)
		d.Source = "verra"
	}
	s.Scan(Vintages, numberedKey(id, math.MinInt64), func(e Entry) bool {
		if textOf(e.Key) != id {
			return false
		}
		var v change.VintageSupply
		vintageRows.of(&v, e)
		d.Vintages = append(d.Vintages, v)
		return true
	})
	return d, true
}

// Quotes yields the latest row of each ticker in byte order, strictly after the
// ticker after; ticker "" means all.
func (s *State) Quotes(ticker, after string) iter.Seq[change.Quote] {
	return func(yield func(change.Quote) bool) {
		var q change.Quote
		show := func(e Entry) bool {
			quoteRows.of(&q, e)
			return yield(q)
		}
		if ticker != "" {
			if e, ok := s.latest(ticker); ok && ticker > after {
				show(e)
			}
			return
		}
		// Skip from ticker to ticker: the key after everything of one ticker
		// begins with the ticker and \x01.
		from := ""
		if after != "" {
			// "\x00" is how a caller says "after the empty ticker".
			from = strings.TrimRight(after, "\x00") + "\x01"
		}
		for {
			var next string
			found := false
			s.Scan(Finance, from, func(e Entry) bool {
				next, found = textOf(e.Key), true
				return false
			})
			if !found {
				return
			}
			if e, ok := s.latest(next); ok && !show(e) {
				return
			}
			from = next + "\x01"
		}
	}
}

func (s *State) latest(ticker string) (out Entry, ok bool) {
	s.rows[Finance].Descend(ticker+"\x00\xff\xff\xff\xff\xff\xff\xff\xff", func(it packed.Item) bool {
		out, ok = s.entry(it), textOf(it.Key) == ticker
		return false
	})
	return out, ok
}

// News yields the newest NewsLimit items, newest first; source "" means all.
func (s *State) News(source string) iter.Seq[change.NewsItem] {
	return func(yield func(change.NewsItem) bool) {
		var item change.NewsItem
		s.newsWindow(source, func(guid string) bool {
			s.newsByID(&item, guid)
			return yield(item)
		})
	}
}

// newsWindow yields the guids of the newest NewsLimit items of a source, in the
// order of the view.
func (s *State) newsWindow(source string, yield func(guid string) bool) {
	x, prefix, n := newsOrder, "", 0
	if source != "" {
		x, prefix = newsSource, source+"\x00"
	}
	s.index[x].Ascend(prefix, func(it packed.Item) bool {
		order, ok := strings.CutPrefix(it.Key, prefix)
		n++
		return ok && yield(behindOrder(order, 0)) && n < change.NewsLimit
	})
}

func (s *State) newsByID(out *change.NewsItem, guid string) {
	if e, ok := s.Get(News, guid); ok {
		newsRows.of(out, e)
	}
}
