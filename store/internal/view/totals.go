package view

import (
	"iter"
	"math"
	"slices"
	"strconv"

	"github.com/tidwall/btree"

	"carbond/store/change"
)

// grouping is a column by whose values rows are totalled.
type grouping struct {
	table Table
	name  string // of the field of the view; "" puts all rows into one group
	field int
	whole bool // a whole number
}

// groupings are the columns of change.Groupings that the tables have.
var groupings = func() (out []grouping) {
	for _, by := range change.Groupings() {
		g := grouping{table: Verra, name: by}
		if by == "source" {
			g.table = News
		}
		if by == "" {
			out = append(out, g)
			continue
		}
		i := slices.IndexFunc(readColumns[g.table], func(c change.TableColumn) bool { return c.Name == by })
		if i >= 0 {
			g.field, g.whole = i, readColumns[g.table][i].Type == change.OIDInt4
			out = append(out, g)
		}
	}
	return out
}()

var vSupply = fieldOf(Verra, "supply")

// group returns the group of a row.
func (g *grouping) group(f *fields) string {
	switch {
	case g.name == "":
		return ""
	case g.whole && f[g.field].Kind == change.Text:
		return strconv.Itoa(int(integer4(f[g.field])))
	}
	return f[g.field].Text
}

// total is what a group comes to.
type total struct {
	key                     string // number of the grouping, then the group
	rows                    int64
	unknown, nans, infinite int64 // rows whose supply is NULL, NaN and infinite
	sum                     exactSum
	owner                   *owner // the State that may change it
}

// owner tells the States apart that share totals.
type owner struct{ _ byte }

func lessTotal(a, b *total) bool { return a.key < b.key }

func newTotals() *btree.BTreeG[*total] {
	return btree.NewBTreeGOptions(lessTotal, btree.Options{NoLocks: true})
}

// add counts a row, or takes it away where sign is -1.
func (t *total) add(table Table, f *fields, sign int64) {
	t.rows += sign
	if table != Verra {
		return
	}
	v := number(f[vSupply])
	switch {
	case f[vSupply].Kind != change.Text:
		t.unknown += sign
	case math.IsNaN(v):
		t.nans += sign
	case math.IsInf(v, 0):
		t.infinite += sign
	default:
		t.sum.add(v, sign)
	}
}

// count brings the totals up to date with a row that took the place of another; nil is
// none.
func (s *State) count(t Table, was, is *fields) {
	supply := t == Verra && (was == nil || is == nil || was[vSupply] != is[vSupply])
	for n := range groupings {
		g := &groupings[n]
		if g.table != t || !supply && was != nil && is != nil && was[g.field] == is[g.field] {
			continue
		}
		if was != nil {
			s.countIn(n, g.group(was), was, -1)
		}
		if is != nil {
			s.countIn(n, g.group(is), is, 1)
		}
	}
}

func totalKey(grouping int, group string) string { return string(rune('a'+grouping)) + group }

// countIn changes one total. One that other States have too is copied first.
func (s *State) countIn(grouping int, group string, f *fields, sign int64) {
	key := totalKey(grouping, group)
	t, ok := s.totals.Get(&total{key: key})
	if !ok || t.owner != s.owner {
		own := &total{}
		if ok {
			*own = *t
		} else {
			own.key = string([]byte(key)) // a part of a row would keep all of it
		}
		own.owner = s.owner
		s.totals.Set(own)
		t = own
	}
	if t.add(groupings[grouping].table, f, sign); t.rows == 0 {
		s.totals.Delete(t)
	}
}

// recount makes the totals of a table anew.
func (s *State) recount(t Table) {
	s.uncount(t)
	found := make([]map[string]*total, len(groupings))
	s.Scan(t, "", func(e Entry) bool {
		f := e.Schema.read(e.Row)
		for n := range groupings {
			g := &groupings[n]
			if g.table != t {
				continue
			}
			if found[n] == nil {
				found[n] = map[string]*total{}
			}
			group := g.group(&f)
			in := found[n][group]
			if in == nil {
				in = &total{key: string([]byte(totalKey(n, group))), owner: s.owner}
				found[n][in.key[1:]] = in
			}
			in.add(t, &f, 1)
		}
		return true
	})
	for _, groups := range found {
		for _, in := range groups {
			s.totals.Set(in)
		}
	}
}

// uncount forgets the totals of a table.
func (s *State) uncount(t Table) {
	var gone []*total
	s.totals.Scan(func(in *total) bool {
		if groupings[in.key[0]-'a'].table == t {
			gone = append(gone, in)
		}
		return true
	})
	for _, in := range gone {
		s.totals.Delete(in)
	}
}

// Totals yields the totals by a grouping in byte order of the groups; nil where the
// tables have no such column.
func (s *State) Totals(by string) iter.Seq[change.Total] {
	n := slices.IndexFunc(groupings, func(g grouping) bool { return g.name == by })
	if n < 0 {
		return nil
	}
	return func(yield func(change.Total) bool) {
		prefix := totalKey(n, "")
		s.totals.Ascend(&total{key: prefix}, func(t *total) bool {
			return t.key[0] == prefix[0] && yield(change.Total{
				Group: t.key[1:], Rows: t.rows, Supply: t.sum.float(), Unknown: t.unknown, NaN: t.nans, Infinite: t.infinite,
			})
		})
	}
}
