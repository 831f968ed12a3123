package view

import (
	"fmt"

	"github.com/tidwall/btree"

	"carbond/store/change"
)

// Entry is a stored row.
type Entry struct {
	Key   string
	Row   change.Row
	Shape *Shape
}

func lessEntry(a, b Entry) bool { return a.Key < b.Key }

func lessText(a, b string) bool { return a < b }

type version struct {
	key string
	at  change.Offset
}

func lessVersion(a, b version) bool { return a.key < b.key }

type (
	entries = btree.BTreeG[Entry]
	texts   = btree.BTreeG[string]
)

// newEntries makes a tree without locks: one goroutine writes, and readers only
// see copies.
func newEntries() *entries {
	return btree.NewBTreeGOptions(lessEntry, btree.Options{NoLocks: true})
}

func newTexts() *texts {
	return btree.NewBTreeGOptions(lessText, btree.Options{NoLocks: true})
}

// State is the rows of all tables with their indexes.
type State struct {
	rows [tableCount]*entries

	byCountry  *texts   // country NUL project_id
	join       *entries // carbonmark: project_id NUL order id, best match last
	newsOrder  *entries // order guid, newest first
	newsSource *entries // source NUL order guid
	unfit      *texts   // table letter and key of the rows that SQL cannot cast

	versions *btree.BTreeG[version] // view letter and filter -> last change
	whole    [3]change.Offset       // last change of anything in a view
	base     [3]change.Offset       // every filter of a view changed at this offset
}

// New returns an empty State. Its versions begin at the offset base.
func New(base change.Offset) *State {
	s := &State{versions: btree.NewBTreeGOptions(lessVersion, btree.Options{NoLocks: true}), unfit: newTexts()}
	for t := range tableCount {
		s.clear(t)
	}
	s.Rebase(base)
	return s
}

// Rebase gives every view and filter the version at.
func (s *State) Rebase(at change.Offset) {
	for v := range s.base {
		s.base[v], s.whole[v] = at, at
	}
	s.versions.Clear()
}

// Copy returns a State with the same content. Either may be changed without
// the other noticing.
func (s *State) Copy() *State {
	c := *s
	for t := range s.rows {
		c.rows[t] = s.rows[t].Copy()
	}
	c.byCountry = s.byCountry.Copy()
	c.join = s.join.Copy()
	c.newsOrder = s.newsOrder.Copy()
	c.newsSource = s.newsSource.Copy()
	c.unfit = s.unfit.Copy()
	c.versions = s.versions.Copy()
	return &c
}

// Len returns the number of rows of a table.
func (s *State) Len(t Table) int { return s.rows[t].Len() }

// Get returns the row with a key.
func (s *State) Get(t Table, key string) (Entry, bool) { return s.rows[t].Get(Entry{Key: key}) }

// Scan yields the rows of a table in key order, from the first key >= from.
func (s *State) Scan(t Table, from string, yield func(Entry) bool) {
	s.rows[t].Ascend(Entry{Key: from}, yield)
}

// Put stores a row, as the change with offset at.
func (s *State) Put(e Entry, at change.Offset) {
	old, had := s.rows[e.Shape.Table].Set(e)
	if had {
		s.unindex(old, at)
	}
	s.index(e, at)
}

// Remove deletes a row, as the change with offset at.
func (s *State) Remove(t Table, key string, at change.Offset) (Entry, bool) {
	old, had := s.rows[t].Delete(Entry{Key: key})
	if had {
		s.unindex(old, at)
	}
	return old, had
}

// Clear deletes every row of a table, as the change with offset at.
func (s *State) Clear(t Table, at change.Offset) {
	s.clear(t)
	v := viewOf(t)
	s.base[v], s.whole[v] = at, at
}

func (s *State) clear(t Table) {
	s.rows[t] = newEntries()
	for _, k := range s.unfitRows(t, s.unfit.Len()) {
		s.unfit.Delete(k)
	}
	switch t {
	case Verra:
		s.byCountry = newTexts()
	case Carbonmark:
		s.join = newEntries()
	case News:
		s.newsOrder, s.newsSource = newEntries(), newEntries()
	}
}

func (s *State) index(e Entry, at change.Offset) {
	f := e.Shape.read(e.Row)
	switch e.Shape.Table {
	case Verra:
		if c := f[vCountry].Text; c != "" {
			s.byCountry.Set(c + "\x00" + e.Key)
		}
	case Carbonmark:
		if f[cProjectID].Kind == change.Text {
			s.join.Set(Entry{Key: joinKey(f), Row: e.Row, Shape: e.Shape})
		}
	case News:
		order := newsKey(f)
		s.newsOrder.Set(Entry{Key: order, Row: e.Row, Shape: e.Shape})
		if src := f[nSource].Text; src != "" {
			s.newsSource.Set(Entry{Key: src + "\x00" + order, Row: e.Row, Shape: e.Shape})
		}
	}
	if e.Shape.unfit(e.Row) >= 0 {
		s.unfit.Set(unfitKey(e))
	}
	s.touch(e.Shape.Table, &f, at)
}

func (s *State) unindex(e Entry, at change.Offset) {
	f := e.Shape.read(e.Row)
	switch e.Shape.Table {
	case Verra:
		if c := f[vCountry].Text; c != "" {
			s.byCountry.Delete(c + "\x00" + e.Key)
		}
	case Carbonmark:
		if f[cProjectID].Kind == change.Text {
			s.join.Delete(Entry{Key: joinKey(f)})
		}
	case News:
		order := newsKey(f)
		s.newsOrder.Delete(Entry{Key: order})
		if src := f[nSource].Text; src != "" {
			s.newsSource.Delete(Entry{Key: src + "\x00" + order})
		}
	}
	if e.Shape.unfit(e.Row) >= 0 {
		s.unfit.Delete(unfitKey(e))
	}
	s.touch(e.Shape.Table, &f, at)
}

func unfitKey(e Entry) string { return string('a'+rune(e.Shape.Table)) + e.Key }

// unfitRows lists the unfit rows of a table, at most so many.
func (s *State) unfitRows(t Table, most int) (out []string) {
	letter := string('a' + rune(t))
	s.unfit.Ascend(letter, func(k string) bool {
		if len(out) == most || k[:1] != letter {
			return false
		}
		out = append(out, k)
		return true
	})
	return out
}

// Unfit counts the rows with a value that SQL cannot cast to the type that the
// view has, so that the view's query fails as a whole, and tells of the first.
func (s *State) Unfit() (n int, first string) {
	k, ok := s.unfit.Min()
	if !ok {
		return 0, ""
	}
	e, _ := s.Get(Table(k[0]-'a'), k[1:])
	i, r := e.Shape.unfit(e.Row), e.Shape.Relation
	return s.unfit.Len(), fmt.Sprintf("column %s of %s.%s has %.40q in the row %s", r.Columns[i].Name, r.Schema, r.Name, e.Row.Value(i).Text, e.Shape.KeyText(e.Key))
}

// joinKey sorts the Carbonmark rows of a project so that the one SQL would pick
// comes last: updated_at with NULL first, then id.
func joinKey(f fields) string {
	pid, id := f[cProjectID].Text, f[cID].Text
	k := make([]byte, 0, len(pid)+len(id)+11)
	k = append(append(k, pid...), 0)
	if at, ok := ReadInstant(f[cUpdated]); ok {
		k = at.appendTo(append(k, 1))
	} else {
		k = append(k, 0)
	}
	return string(append(k, id...))
}

// newsKey sorts news as SQL does: published_at descending with NULL last, then
// guid ascending.
func newsKey(f fields) string {
	guid := f[nGUID].Text
	k := make([]byte, 0, len(guid)+10)
	if at, ok := ReadInstant(f[nPublishedAt]); ok {
		k = at.appendTo(append(k, 0))
		for i := 1; i < len(k); i++ {
			k[i] = ^k[i]
		}
	} else {
		k = append(k, 1)
	}
	return string(append(k, guid...))
}
