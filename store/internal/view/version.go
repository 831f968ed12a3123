package view

import (
	"slices"

	"carbond/store/change"
)

// views in the order of State.whole.
var views = change.Views()

// viewOf is the place among views of the one that reads a table. The supplies by vintage
// are in no view: they are read with one project, whose answer is its own version.
var viewOf = func() (out [TableCount]int) {
	for t := range out {
		out[t] = noView
	}
	for n, v := range views {
		for _, name := range v.Def().Tables {
			t, _ := TableOf(name)
			out[t] = n
		}
	}
	return out
}()

const noView = -1

// versionKey is a view and a filter in State.versions.
func versionKey(view int, filter string) string { return string(rune('a'+view)) + filter }

// maxVersions bounds the filters whose last change is remembered. Beyond it all
// answers count as changed once, which costs a cache, not correctness.
const maxVersions = 1 << 16

// touch marks the answers that read a row with fields f as changed.
func (s *State) touch(t Table, f *fields, at change.Offset) {
	v := viewOf[t]
	if at == 0 || v == noView { // while loading: Rebase follows
		return
	}
	s.whole[v] = at
	var filter string
	switch t {
	case Verra:
		filter = f[vCountry].Text
	case Carbonmark:
		// The country is the Verra row's. A row that joins nothing changes no
		// answer; when its partner appears, that is a change of its own.
		if e, ok := s.Get(Verra, f[cProjectID].Text); ok {
			vf := e.Schema.read(e.Row)
			filter = vf[vCountry].Text
		}
	case Finance:
		filter = f[fTicker].Text
	case News:
		filter = f[nSource].Text
	}
	if filter != "" {
		if s.versions.Len() >= maxVersions {
			s.Rebase(at)
		}
		s.versions.Set(version{versionKey(v, filter), at})
	}
}

// Version returns the offset of the last change to anything that the answer of
// view v for the filter reads; "" is the whole view. Two equal versions mean
// two equal answers.
func (s *State) Version(v change.View, filter string) change.Offset {
	n := slices.Index(views, v)
	if n < 0 {
		return 0
	}
	if filter == "" {
		return s.whole[n]
	}
	at := s.base[n]
	if e, ok := s.versions.Get(version{key: versionKey(n, filter)}); ok {
		at = max(at, e.at)
	}
	return at
}
