package view

import (
	"maps"
	"slices"
	"strings"

	"carbond/store/change"
	"carbond/store/internal/packed"
)

// Touched collects the view keys that changes may have changed. The zero
// Touched is ready.
type Touched struct {
	projects map[string]struct{}
	tickers  map[string]struct{}
	sources  map[string]struct{}
	news     map[string]struct{} // guids
	size     int
}

// Size returns the number of keys.
func (t *Touched) Size() int { return t.size }

// Add notes the keys that a row, before or after a change, contributes to.
func (t *Touched) Add(sh *Schema, r change.Row) {
	f := sh.read(r)
	switch sh.Table {
	case Verra:
		t.projects = t.note(t.projects, f[vProjectID].Text)
	case Carbonmark:
		if f[cProjectID].Kind == change.Text {
			t.projects = t.note(t.projects, f[cProjectID].Text)
		}
	case Finance:
		t.tickers = t.note(t.tickers, f[fTicker].Text)
	case News:
		t.news = t.note(t.news, f[nGUID].Text)
		if src := f[nSource].Text; src != "" {
			t.sources = t.note(t.sources, src)
		}
	}
}

func (t *Touched) note(m map[string]struct{}, k string) map[string]struct{} {
	if m == nil {
		m = map[string]struct{}{}
	}
	if _, ok := m[k]; !ok {
		m[k] = struct{}{}
		t.size += 1 + len(k)/64
	}
	return m
}

// Reset empties t.
func (t *Touched) Reset() { *t = Touched{} }

// Deltas is the difference of the views between two states that differ at most
// in the touched keys: a pure function.
func Deltas(before, after *State, t *Touched) []change.Delta {
	var out []change.Delta
	for _, id := range slices.Sorted(maps.Keys(t.projects)) {
		out = appendProject(out, before.projectByID(id), after.projectByID(id))
	}
	if len(t.news) > 0 {
		out = appendWindow(out, before, after, "", t.news)
	}
	for _, src := range slices.Sorted(maps.Keys(t.sources)) {
		out = appendWindow(out, before, after, src, t.news)
	}
	for _, ticker := range slices.Sorted(maps.Keys(t.tickers)) {
		old, had := before.latest(ticker)
		cur, has := after.latest(ticker)
		out = appendQuote(out, old, had, cur, has)
	}
	return out
}

// projectByID returns the row of a project, nil for none.
func (s *State) projectByID(id string) *change.Project {
	e, ok := s.Get(Verra, id)
	if !ok {
		return nil
	}
	return s.newProject(e)
}

func (s *State) newProject(e Entry) *change.Project {
	p := new(change.Project)
	s.project(p, e)
	return p
}

// appendProject appends what turns one row into the other; nil is no row.
func appendProject(out []change.Delta, old, cur *change.Project) []change.Delta {
	if old != nil && cur != nil && change.Projects.Same(old, cur) {
		return out
	}
	if old != nil {
		out = append(out, change.Delta{Diff: -1, Project: old})
	}
	if cur != nil {
		out = append(out, change.Delta{Diff: 1, Project: cur})
	}
	return out
}

func appendQuote(out []change.Delta, old Entry, had bool, cur Entry, has bool) []change.Delta {
	if had && has && old.Row == cur.Row && old.Schema == cur.Schema {
		return out
	}
	var was, is change.Quote
	if had {
		quoteRows.of(&was, old)
	}
	if has {
		quoteRows.of(&is, cur)
	}
	if had && has && change.Quotes.Same(&was, &is) { // a column that the view does not read
		return out
	}
	if had {
		out = append(out, change.Delta{Diff: -1, Quote: &was})
	}
	if has {
		out = append(out, change.Delta{Diff: 1, Quote: &is})
	}
	return out
}

// appendWindow compares the newest NewsLimit items of a source: rows that fall
// out of the window, or come into it because another left, are deltas too. A row
// that stays in it can differ only when it is among the touched ones; nil is all.
func appendWindow(out []change.Delta, before, after *State, source string, touched map[string]struct{}) []change.Delta {
	was, is := before.window(source), after.window(source)
	stays := func(guid string) bool {
		_, in := was[guid]
		_, still := is[guid]
		if !in || !still {
			return false
		}
		if _, may := touched[guid]; touched != nil && !may {
			return true
		}
		var old, cur change.NewsItem
		before.newsByID(&old, guid)
		after.newsByID(&cur, guid)
		return old == cur
	}
	emit := func(s *State, guid string, diff int8) {
		if !stays(guid) {
			n := new(change.NewsItem)
			s.newsByID(n, guid)
			out = append(out, change.Delta{Diff: diff, News: n, Window: source})
		}
	}
	for _, guid := range slices.Sorted(maps.Keys(was)) {
		emit(before, guid, -1)
	}
	for _, guid := range slices.Sorted(maps.Keys(is)) {
		emit(after, guid, 1)
	}
	return out
}

func (s *State) window(source string) map[string]struct{} {
	w := make(map[string]struct{}, change.NewsLimit)
	s.newsWindow(source, func(guid string) bool {
		w[guid] = struct{}{}
		return true
	})
	return w
}

// BulkDeltas yields the difference of the views between any two states, without
// knowing what was touched and without holding it.
func BulkDeltas(before, after *State, yield func(change.Delta) bool) {
	if !bulkProjects(before, after, yield) {
		return
	}
	for _, src := range windows(before, after) {
		for _, d := range appendWindow(nil, before, after, src, nil) {
			if !yield(d) {
				return
			}
		}
	}
	tickers := map[string]struct{}{}
	for _, s := range []*State{before, after} {
		for q := range s.Quotes("", "") {
			tickers[q.Ticker] = struct{}{}
		}
	}
	for _, d := range Deltas(before, after, &Touched{tickers: tickers}) {
		if !yield(d) {
			return
		}
	}
}

// bulkProjects merges the projects of both states by key.
func bulkProjects(before, after *State, yield func(change.Delta) bool) bool {
	emit := func(old, cur *change.Project) bool {
		for _, d := range appendProject(nil, old, cur) {
			if !yield(d) {
				return false
			}
		}
		return true
	}
	a, b := before.rows[Verra].Cursor(), after.rows[Verra].Cursor()
	x, okA := a.Next()
	y, okB := b.Next()
	for okA || okB {
		var old, cur *change.Project
		fromA := okA && (!okB || x.Key <= y.Key)
		fromB := okB && (!okA || y.Key <= x.Key)
		if fromA {
			old = before.newProject(before.entry(x))
			x, okA = a.Next()
		}
		if fromB {
			cur = after.newProject(after.entry(y))
			y, okB = b.Next()
		}
		if !emit(old, cur) {
			return false
		}
	}
	return true
}

// windows lists "" and the sources of the news of both states.
func windows(states ...*State) []string {
	set := map[string]struct{}{"": {}}
	for _, s := range states {
		from := ""
		for {
			var src string
			found := false
			s.index[newsSource].Ascend(from, func(it packed.Item) bool {
				src, _, found = strings.Cut(it.Key, "\x00")
				return false
			})
			if !found {
				break
			}
			set[src] = struct{}{}
			from = src + "\x01"
		}
	}
	return slices.Sorted(maps.Keys(set))
}
