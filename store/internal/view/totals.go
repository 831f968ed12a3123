package view

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

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
	listed                  bool   // in the owner's map
}

// owner tells the States apart that share totals. It remembers those of one State, so
// that many rows of a group look for theirs once: the last of each grouping, as the
// next row is often of the same group, and those before in a map, which a version of
// one change does without.
type owner struct {
	last []*total
	made map[groupOf]*total
}

// groupOf is a group of a grouping.
type groupOf struct {
	grouping int
	group    string
}

func lessTotal(a, b *total) bool { return a.key < b.key }

func newTotals() *btree.BTreeG[*total] {
	return btree.NewBTreeGOptions(lessTotal, btree.Options{NoLocks: true})
}

// amount is the supply of a row.
type amount struct {
	none    bool // the table has no supply
	unknown bool
	v       float64
}

func amountOf(t Table, f *fields) amount {
	if t != Verra {
		return amount{none: true}
	}
	return amount{unknown: f[vSupply].Kind != change.Text, v: number(f[vSupply])}
}

// add counts a row, or takes it away where sign is -1.
func (t *total) add(a amount, sign int64) {
	t.rows += sign
	switch {
	case a.none:
	case a.unknown:
		t.unknown += sign
	case math.IsNaN(a.v):
		t.nans += sign
	case math.IsInf(a.v, 0):
		t.infinite += sign
	default:
		t.sum.add(a.v, sign)
	}
}

// count brings the totals up to date with a row that took the place of another; nil is
// none.
func (s *State) count(t Table, was, is *fields) {
	supply := t == Verra && (was == nil || is == nil || was[vSupply] != is[vSupply])
	var old, cur amount
	if was != nil {
		old = amountOf(t, was)
	}
	if is != nil {
		cur = amountOf(t, is)
	}
	for n := range groupings {
		g := &groupings[n]
		if g.table != t || !supply && was != nil && is != nil && was[g.field] == is[g.field] {
			continue
		}
		if was != nil {
			s.countIn(n, g.group(was), old, -1)
		}
		if is != nil {
			s.countIn(n, g.group(is), cur, 1)
		}
	}
}

func totalKey(grouping int, group string) string { return string(rune('a'+grouping)) + group }

// countIn changes one total.
func (s *State) countIn(grouping int, group string, a amount, sign int64) {
	o := s.owner
	if o.last == nil {
		o.last = make([]*total, len(groupings))
	}
	t := o.last[grouping]
	if t == nil || t.key[1:] != group {
		if t != nil && !t.listed {
			if o.made == nil {
				o.made = map[groupOf]*total{}
			}
			t.listed, o.made[groupOf{grouping, t.key[1:]}] = true, t
		}
		if t = o.made[groupOf{grouping, group}]; t == nil {
			t = s.own(totalKey(grouping, group))
		}
		o.last[grouping] = t
	}
	if t.add(a, sign); t.rows == 0 {
		s.totals.Delete(t)
		delete(o.made, groupOf{grouping, group})
		o.last[grouping] = nil
	}
}

// own returns a total that this State alone has.
func (s *State) own(key string) *total {
	t, ok := s.totals.Get(&total{key: key})
	if ok && t.owner == s.owner {
		return t
	}
	own := &total{key: key}
	if ok {
		*own = *t
		own.sum, own.listed = t.sum.clone(), false
	}
	own.owner = s.owner
	s.totals.Set(own)
	return own
}

// tally makes the totals of a table that is loaded.
type tally struct {
	table Table
	// found are the totals of each grouping, by the value as the rows have it.
	found []map[string]*total
}

func newTally(t Table) *tally {
	c := &tally{table: t, found: make([]map[string]*total, len(groupings))}
	for n := range groupings {
		c.found[n] = map[string]*total{}
	}
	return c
}

func (c *tally) add(s *State, f *fields) {
	a := amountOf(c.table, f)
	for n := range groupings {
		g := &groupings[n]
		if g.table != c.table {
			continue
		}
		value := ""
		if g.name != "" {
			value = f[g.field].Text
		}
		in := c.found[n][value]
		if in == nil {
			in = s.own(totalKey(n, g.group(f)))
			c.found[n][strings.Clone(value)] = in // a part of a row would keep all of it
		}
		in.add(a, 1)
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
	s.owner.last, s.owner.made = nil, nil
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
