package view

import (
	"maps"
	"slices"

	"carbond/store/change"
)

// Touched collects the view keys that changes may have changed. The zero
// Touched is ready.
type Touched struct {
	projects map[string]struct{}
	tickers  map[string]struct{}
	sources  map[string]struct{}
	news     bool
	size     int
}

// Size returns the number of keys.
func (t *Touched) Size() int { return t.size }

// Add notes the keys that a row, before or after a change, contributes to.
func (t *Touched) Add(sh *Shape, r change.Row) {
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
		t.news = true
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
		old, had := before.projectByID(id)
		cur, has := after.projectByID(id)
		out = appendProject(out, old, had, cur, has)
	}
	if t.news {
		out = appendWindow(out, before, after, "")
	}
	for _, src := range slices.Sorted(maps.Keys(t.sources)) {
		out = appendWindow(out, before, after, src)
	}
	for _, ticker := range slices.Sorted(maps.Keys(t.tickers)) {
		old, had := before.latest(ticker)
		cur, has := after.latest(ticker)
		out = appendQuote(out, old, had, cur, has)
	}
	return out
}

func (s *State) projectByID(id string) (change.Project, bool) {
	e, ok := s.rows[Verra].Get(Entry{Key: id})
	if !ok {
		return change.Project{}, false
	}
	return s.project(e), true
}

func appendProject(out []change.Delta, old change.Project, had bool, cur change.Project, has bool) []change.Delta {
	if had && has && sameProject(old, cur) {
		return out
	}
	if had {
		out = append(out, change.Delta{Diff: -1, Project: &old})
	}
	if has {
		out = append(out, change.Delta{Diff: 1, Project: &cur})
	}
	return out
}

// sameProject is == with NaN equal to itself.
func sameProject(a, b change.Project) bool {
	if a.Supply != a.Supply && b.Supply != b.Supply {
		a.Supply, b.Supply = 0, 0
	}
	return a == b
}

func appendQuote(out []change.Delta, old Entry, had bool, cur Entry, has bool) []change.Delta {
	if had && has && old.Row == cur.Row && old.Shape == cur.Shape {
		return out
	}
	var was, is change.Quote
	if had {
		was = quote(old)
	}
	if has {
		is = quote(cur)
	}
	if had && has && sameQuote(was, is) { // a column that the view does not read
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

// sameQuote is == with NaN equal to itself.
func sameQuote(a, b change.Quote) bool {
	for _, p := range [][2]*float64{{&a.Price, &b.Price}, {&a.MarketCap, &b.MarketCap}, {&a.ChangePercent, &b.ChangePercent}} {
		if *p[0] != *p[0] && *p[1] != *p[1] {
			*p[0], *p[1] = 0, 0
		}
	}
	return a == b
}

// appendWindow compares the newest NewsLimit items of a source: rows that fall
// out of the window, or come into it because another left, are deltas too.
func appendWindow(out []change.Delta, before, after *State, source string) []change.Delta {
	was, is := before.window(source), after.window(source)
	for _, guid := range slices.Sorted(maps.Keys(was)) {
		if cur, ok := is[guid]; !ok || cur != was[guid] {
			old := was[guid]
			out = append(out, change.Delta{Diff: -1, News: &old, Window: source})
		}
	}
	for _, guid := range slices.Sorted(maps.Keys(is)) {
		if old, ok := was[guid]; !ok || old != is[guid] {
			cur := is[guid]
			out = append(out, change.Delta{Diff: 1, News: &cur, Window: source})
		}
	}
	return out
}

func (s *State) window(source string) map[string]change.NewsItem {
	w := make(map[string]change.NewsItem, change.NewsLimit)
	for n := range s.News(source) {
		w[n.GUID] = n
	}
	return w
}

// BulkDeltas yields the difference of the views between any two states, without
// knowing what was touched and without holding it.
func BulkDeltas(before, after *State, yield func(change.Delta) bool) {
	if !bulkProjects(before, after, yield) {
		return
	}
	for _, src := range windows(before, after) {
		for _, d := range appendWindow(nil, before, after, src) {
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
	emit := func(old change.Project, had bool, cur change.Project, has bool) bool {
		for _, d := range appendProject(nil, old, had, cur, has) {
			if !yield(d) {
				return false
			}
		}
		return true
	}
	a, b := before.rows[Verra].Iter(), after.rows[Verra].Iter()
	okA, okB := a.First(), b.First()
	for okA || okB {
		switch {
		case !okB || okA && a.Item().Key < b.Item().Key:
			if !emit(before.project(a.Item()), true, change.Project{}, false) {
				return false
			}
			okA = a.Next()
		case !okA || b.Item().Key < a.Item().Key:
			if !emit(change.Project{}, false, after.project(b.Item()), true) {
				return false
			}
			okB = b.Next()
		default:
			if !emit(before.project(a.Item()), true, after.project(b.Item()), true) {
				return false
			}
			okA, okB = a.Next(), b.Next()
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
			s.newsSource.Ascend(Entry{Key: from}, func(e Entry) bool {
				f := e.Shape.read(e.Row)
				src, found = f[nSource].Text, true
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
