package view

import (
	"iter"
	"strings"

	"carbond/store/change"
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
			s.rows[Verra].Ascend(Entry{Key: after}, func(e Entry) bool {
				return e.Key == after && after != "" || show(e)
			})
			return
		}
		prefix := country + "\x00"
		s.byCountry.Ascend(prefix+after, func(k string) bool {
			id, ok := strings.CutPrefix(k, prefix)
			if !ok {
				return false
			}
			if id == after && after != "" {
				return true
			}
			e, ok := s.rows[Verra].Get(Entry{Key: id})
			return !ok || show(e)
		})
	}
}

// project joins a Verra row with the Carbonmark row that SQL would pick.
func (s *State) project(p *change.Project, e Entry) {
	f := e.Shape.read(e.Row)
	if c, ok := s.partner(e.Key); ok {
		projectRows.read(p, &f, &c)
	} else {
		projectRows.read(p, &f)
	}
}

// partner returns the fields of the best Carbonmark row of a project.
func (s *State) partner(projectID string) (f fields, ok bool) {
	s.join.Descend(Entry{Key: projectID + "\x00\xff"}, func(e Entry) bool {
		if len(e.Key) > len(projectID) && e.Key[len(projectID)] == 0 && e.Key[:len(projectID)] == projectID {
			f, ok = e.Shape.read(e.Row), true
		}
		return false
	})
	return f, ok
}

// Project returns all that is known of one project.
func (s *State) Project(id string) (change.ProjectDetail, bool) {
	e, ok := s.rows[Verra].Get(Entry{Key: id})
	if !ok {
		return change.ProjectDetail{}, false
	}
	var d change.ProjectDetail
	f := e.Shape.read(e.Row)
	if c, ok := s.partner(id); ok {
		detailRows.read(&d, &f, &c)
		d.Source = "verra+carbonmark"
	} else {
		detailRows.read(&d, &f)
		d.Source = "verra"
	}
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
			s.rows[Finance].Ascend(Entry{Key: from}, func(e Entry) bool {
				next, found = tickerOf(e.Key), true
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

// tickerOf cuts the NUL and the eight bytes of time off a finance key.
func tickerOf(key string) string { return key[:max(0, len(key)-9)] }

func (s *State) latest(ticker string) (out Entry, ok bool) {
	s.rows[Finance].Descend(Entry{Key: ticker + "\x00\xff\xff\xff\xff\xff\xff\xff\xff"}, func(e Entry) bool {
		out, ok = e, tickerOf(e.Key) == ticker
		return false
	})
	return out, ok
}

// News yields the newest NewsLimit items, newest first; source "" means all.
func (s *State) News(source string) iter.Seq[change.NewsItem] {
	return func(yield func(change.NewsItem) bool) {
		n := 0
		var item change.NewsItem
		s.newsWindow(source, func(e Entry) bool {
			n++
			newsRows.of(&item, e)
			return yield(item) && n < change.NewsLimit
		})
	}
}

// newsWindow walks the news of a source in the order of the view.
func (s *State) newsWindow(source string, yield func(Entry) bool) {
	if source == "" {
		s.newsOrder.Scan(yield)
		return
	}
	prefix := source + "\x00"
	s.newsSource.Ascend(Entry{Key: prefix}, func(e Entry) bool {
		return strings.HasPrefix(e.Key, prefix) && yield(e)
	})
}
