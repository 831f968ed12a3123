package view

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/tidwall/btree"

	"carbond/store/change"
	"carbond/store/internal/packed"
)

// Entry is a stored row. Key and Row share memory with the rows beside it: who
// keeps one for long clones it.
type Entry struct {
	Key    string
	Row    change.Row
	Schema *Schema
}

type version struct {
	key string
	at  change.Offset
}

func lessVersion(a, b version) bool { return a.key < b.key }

// index numbers the sets of keys that lead to rows, each in the order of a view.
type index int

const (
	byCountry  index = iota // country NUL project_id
	join                    // project_id NUL order id: the best match of a project last
	newsOrder               // order guid, newest first
	newsSource              // source NUL order guid
	unfitRows               // table letter and key of the rows that SQL cannot cast
	indexCount
)

// indexes of each table, apart from unfitRows.
var indexes = [TableCount][]index{Verra: {byCountry}, Carbonmark: {join}, News: {newsOrder, newsSource}}

// State is the rows of all tables with their indexes.
type State struct {
	rows    [TableCount]*packed.Tree // tagged with their place in schemas
	index   [indexCount]*packed.Tree // keys alone
	schemas []*Schema
	// loading tables have no index entries and no versions of their own yet.
	loading [TableCount]*packed.Builder

	totals *btree.BTreeG[*total]
	owner  *owner // of the totals that this State made, until it is copied

	versions *btree.BTreeG[version]          // by versionKey: the last change
	whole    [change.ViewCount]change.Offset // last change of anything in a view
	base     [change.ViewCount]change.Offset // every filter of a view changed at this offset
}

// New returns an empty State. Its versions begin at the offset base.
func New(base change.Offset) *State {
	s := &State{versions: btree.NewBTreeGOptions(lessVersion, btree.Options{NoLocks: true}), totals: newTotals(), owner: &owner{}}
	s.index[unfitRows] = packed.New()
	for t := range TableCount {
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
	for x := range s.index {
		c.index[x] = s.index[x].Copy()
	}
	c.versions, c.totals = s.versions.Copy(), s.totals.Copy()
	s.owner.last, s.owner.made = nil, nil // its totals keep the owner
	s.owner, c.owner = &owner{}, &owner{} // neither may change what both have
	return &c
}

// table returns the rows of a table, those that are loading included.
func (s *State) table(t Table) *packed.Tree {
	if b := s.loading[t]; b != nil {
		b.Flush()
	}
	return s.rows[t]
}

// Len returns the number of rows of a table.
func (s *State) Len(t Table) int { return s.table(t).Len() }

func (s *State) entry(it packed.Item) Entry {
	return Entry{Key: it.Key, Row: change.Row(it.Row), Schema: s.schemas[it.Tag]}
}

// item packs a row.
func (s *State) item(e *Entry) packed.Item {
	tag := slices.Index(s.schemas, e.Schema)
	if tag < 0 {
		tag = len(s.schemas)
		s.schemas = append(slices.Clip(s.schemas), e.Schema) // copies have the slice too
	}
	return packed.Item{Key: e.Key, Row: string(e.Row), Tag: uint32(tag)}
}

// Get returns the row with a key.
func (s *State) Get(t Table, key string) (Entry, bool) {
	get := s.rows[t].Get
	if b := s.loading[t]; b != nil {
		get = b.Get
	}
	it, ok := get(key)
	if !ok {
		return Entry{}, false
	}
	return s.entry(it), true
}

// Scan yields the rows of a table in key order, from the first key >= from.
func (s *State) Scan(t Table, from string, yield func(Entry) bool) {
	s.table(t).Ascend(from, func(it packed.Item) bool { return yield(s.entry(it)) })
}

// Put stores a row, as the change with offset at.
func (s *State) Put(e Entry, at change.Offset) {
	item := s.item(&e)
	if b := s.loading[e.Schema.Table]; b != nil {
		b.Set(item)
		return
	}
	it, had := s.rows[e.Schema.Table].Set(item)
	if !had {
		s.reindex(nil, &e, at)
		return
	}
	old := s.entry(it)
	s.reindex(&old, &e, at)
}

// Update stores many rows of a table, in the order of their keys and none twice, as
// the change with offset at. One with an empty Row is deleted.
func (s *State) Update(t Table, rows []Entry, at change.Offset) {
	edits := make([]packed.Edit, len(rows))
	for i := range rows {
		edits[i] = packed.Edit{Item: s.item(&rows[i]), Gone: rows[i].Row == ""}
	}
	s.table(t).Update(edits, func(i int, it packed.Item, had bool) {
		var old, cur *Entry
		if had {
			e := s.entry(it)
			old = &e
		}
		if !edits[i].Gone {
			cur = &rows[i]
		}
		if old != nil || cur != nil {
			s.reindex(old, cur, at)
		}
	})
}

// Remove deletes a row, as the change with offset at.
func (s *State) Remove(t Table, key string, at change.Offset) (Entry, bool) {
	it, had := s.table(t).Delete(key)
	if !had {
		return Entry{}, false
	}
	old := s.entry(it)
	s.reindex(&old, nil, at)
	return old, true
}

// Load begins to fill a table that is empty, best with rows in the order of their
// keys. Until Loaded no view finds them, and the State is not copied.
func (s *State) Load(t Table) { s.loading[t] = packed.NewBuilder(s.rows[t]) }

// Loaded ends Load, as the change with offset at: all of the table's view counts as
// changed there.
func (s *State) Loaded(t Table, at change.Offset) {
	s.loading[t].Flush()
	s.loading[t] = nil
	lists := [indexCount]map[string]*keyList{} // by filter
	for _, x := range indexes[t] {
		lists[x] = map[string]*keyList{}
	}
	var key []byte
	s.uncount(t)
	totals := newTally(t)
	s.Scan(t, "", func(e Entry) bool {
		f := e.Schema.read(e.Row)
		totals.add(s, &f)
		for _, x := range indexes[t] {
			if key = x.appendKey(key[:0], &e, &f); len(key) > 0 {
				filter := x.filter(key)
				l := lists[x][string(filter)]
				if l == nil {
					l = &keyList{}
					lists[x][string(filter)] = l
				}
				l.add(key)
			}
		}
		s.move(unfitRows, "", unfitKey(&e))
		return true
	})
	for _, x := range indexes[t] {
		b := packed.NewBuilder(s.index[x])
		for _, filter := range slices.Sorted(maps.Keys(lists[x])) {
			for _, k := range lists[x][filter].sorted() {
				b.Set(packed.Item{Key: k})
			}
		}
		b.Flush()
	}
	if v := viewOf[t]; v != noView {
		s.base[v], s.whole[v] = max(s.base[v], at), max(s.whole[v], at)
	}
}

// Clear deletes every row of a table, as the change with offset at.
func (s *State) Clear(t Table, at change.Offset) {
	s.clear(t)
	if v := viewOf[t]; v != noView {
		s.base[v], s.whole[v] = at, at
	}
}

func (s *State) clear(t Table) {
	s.rows[t] = packed.New()
	s.uncount(t)
	if s.loading[t] != nil {
		s.Load(t)
	}
	for _, x := range indexes[t] {
		s.index[x] = packed.New()
	}
	for _, k := range s.unfitRows(t, s.index[unfitRows].Len()) {
		s.index[unfitRows].Delete(k)
	}
}

// reindex takes one row of a key, if there was one, out of the indexes and
// another into them.
func (s *State) reindex(old, cur *Entry, at change.Offset) {
	var was, is fields
	var t Table
	if old != nil {
		t, was = old.Schema.Table, old.Schema.read(old.Row)
		s.touch(t, &was, at)
	}
	if cur != nil {
		t, is = cur.Schema.Table, cur.Schema.read(cur.Row)
		s.touch(t, &is, at)
	}
	for _, x := range indexes[t] {
		s.move(x, x.key(old, &was), x.key(cur, &is))
	}
	s.count(t, whenThere(old, &was), whenThere(cur, &is))
	s.move(unfitRows, unfitKey(old), unfitKey(cur))
}

// whenThere is nil for the fields of no row.
func whenThere(e *Entry, f *fields) *fields {
	if e == nil {
		return nil
	}
	return f
}

// move puts one key of an index in the place of another, "" for none.
func (s *State) move(x index, old, cur string) {
	if old == cur {
		return
	}
	if old != "" {
		s.index[x].Delete(old)
	}
	if cur != "" {
		s.index[x].Set(packed.Item{Key: cur})
	}
}

// filter returns what comes first in a key of an index where few filters have many
// rows, nothing for other indexes. Filters sort as their keys do: no text has a NUL.
func (x index) filter(key []byte) []byte {
	if x != byCountry && x != newsSource {
		return nil
	}
	return key[:bytes.IndexByte(key, 0)]
}

// keyList is many keys without a pointer to each: the collector has no work with them.
type keyList struct {
	text []byte
	ends []int
}

func (l *keyList) add(key []byte) {
	l.text = append(l.text, key...)
	l.ends = append(l.ends, len(l.text))
}

func (l *keyList) sorted() []string {
	text, from := string(l.text), 0
	keys := make([]string, len(l.ends))
	for i, end := range l.ends {
		keys[i], from = text[from:end], end
	}
	slices.Sort(keys) // no work where rows come in the order of the index
	return keys
}

// key returns the key of a row with fields f in an index, "" when it has none.
func (x index) key(e *Entry, f *fields) string {
	if e == nil {
		return ""
	}
	var k [128]byte
	return string(x.appendKey(k[:0], e, f))
}

// appendKey appends the key of a row with fields f in an index, if it has one.
func (x index) appendKey(k []byte, e *Entry, f *fields) []byte {
	switch x {
	case byCountry:
		if c := f[vCountry].Text; c != "" {
			k = append(append(append(k, c...), 0), e.Key...)
		}
	case join:
		if f[cProjectID].Kind == change.Text {
			k = appendJoinKey(k, f)
		}
	case newsOrder:
		k = appendNewsKey(k, f)
	case newsSource:
		if src := f[nSource].Text; src != "" {
			k = appendNewsKey(append(append(k, src...), 0), f)
		}
	}
	return k
}

func unfitKey(e *Entry) string {
	if e == nil || e.Schema.unfit(e.Row) < 0 {
		return ""
	}
	return string('a'+rune(e.Schema.Table)) + e.Key
}

// unfitRows lists the unfit rows of a table, at most so many.
func (s *State) unfitRows(t Table, most int) (out []string) {
	letter := string('a' + rune(t))
	s.index[unfitRows].Ascend(letter, func(it packed.Item) bool {
		if len(out) == most || it.Key[:1] != letter {
			return false
		}
		out = append(out, it.Key)
		return true
	})
	return out
}

// Unfit counts the rows with a value that SQL cannot cast to the type that the
// view has, so that the view's query fails as a whole, and tells of the first.
func (s *State) Unfit() (n int, first string) {
	s.index[unfitRows].Ascend("", func(it packed.Item) bool {
		e, _ := s.Get(Table(it.Key[0]-'a'), it.Key[1:])
		i, r := e.Schema.unfit(e.Row), e.Schema.Relation
		first = fmt.Sprintf("column %s of %s.%s has %.40q in the row %s", r.Columns[i].Name, r.Schema, r.Name, e.Row.Value(i).Text, e.Schema.KeyText(e.Key))
		return false
	})
	return s.index[unfitRows].Len(), first
}

// appendJoinKey sorts the Carbonmark rows of a project so that the one SQL would pick
// comes last: updated_at with NULL first, then id.
func appendJoinKey(k []byte, f *fields) []byte {
	k = append(append(k, f[cProjectID].Text...), 0)
	if at, ok := ReadInstant(f[cUpdated]); ok {
		k = at.appendTo(append(k, 1))
	} else {
		k = append(k, 0)
	}
	return append(k, f[cID].Text...)
}

// appendNewsKey sorts news as SQL does: published_at descending with NULL last, then
// guid ascending.
func appendNewsKey(k []byte, f *fields) []byte {
	if at, ok := ReadInstant(f[nPublishedAt]); ok {
		k = append(k, 0)
		from := len(k)
		k = at.appendTo(k)
		for i := from; i < len(k); i++ {
			k[i] = ^k[i]
		}
	} else {
		k = append(k, 1)
	}
	return append(k, f[nGUID].Text...)
}

// maxOrder is what stands before the key of the row in the order of an index: a
// byte that says whether there is a time, and the time.
const maxOrder = 1 + instantBytes

// behindOrder returns the key of the row. timed is the byte before a time.
func behindOrder(k string, timed byte) string {
	if k[0] == timed {
		return k[maxOrder:]
	}
	return k[1:]
}
