package catalog

import (
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"carbond/store/change"
)

// Finding is what a later look says that an earlier one did not.
type Finding struct {
	Table string // by the name that we give it, "" for all
	Text  string // what happened
	// Lost says that the stream lacks changes or will lack them, as it is set up
	// now. Otherwise rows changed, came or went without a word in it, but what it
	// brings is right.
	Lost bool
	// Truncated is a transaction by its number, "" for none: nothing has happened
	// if the stream brings a TRUNCATE of the table in that very one.
	Truncated string
	// Early says that the server's statistics may lag behind what they count.
	Early bool
}

// Compare says what happened between two looks that the stream does not tell.
// What the earlier one does not know is not compared.
func Compare(before, now *Marks, schema string) []Finding {
	if before == nil {
		return nil
	}
	var out []Finding
	if f, ok := comparePublication(before.Publication, now.Publication); ok {
		out = append(out, f)
	}
	for _, name := range change.Tables() {
		b, n := before.table(name), now.table(name)
		if b == nil {
			continue
		}
		full := schema + "." + name
		add := func(f Finding) { f.Table = name; out = append(out, f) }
		switch {
		case n == nil || n.OID != b.OID:
			add(Finding{Lost: true, Text: "table " + full + " was dropped or replaced"})
			continue
		case n.Holder != 0 && n.Holder != n.OID:
			add(Finding{Lost: true, Text: fmt.Sprintf("table %s was replaced by another table of its name; it is called %s now", full, n.Called)})
			continue
		case b.Place != "" && b.Place != n.Place:
			add(Finding{Lost: true, Text: "table " + full + " was taken out of the publication, or moved in it"})
			continue
		}
		if n.altered(b, name) {
			add(Finding{Text: "ALTER TABLE changed columns of " + full})
		}
		for number, label := range b.Labels {
			if l, ok := n.Labels[number]; ok && l != label {
				add(Finding{Text: fmt.Sprintf("ALTER TYPE renamed the value %q, which rows of %s have, to %q", label, full, l)})
			}
		}
		for _, f := range compareParts(b, n, full) {
			add(f)
		}
	}
	return out
}

// comparePublication compares two looks at the publication. One whose row was
// written again with the content that it had may have had another one meanwhile:
// then rows of publications were written twice at least.
func comparePublication(b, n Publication) (Finding, bool) {
	altered := Finding{Lost: true, Text: "the publication was altered or dropped"}
	switch {
	case b.OID != n.OID, b.Content != "" && b.Content != n.Content:
		return altered, true
	case b.Content == "" || b.XMin == n.XMin || n.Updates == b.Updates+1,
		n.Updates == b.Updates && b.Updates == b.Earlier+1:
		return Finding{}, false
	}
	altered.Early = n.Updates == b.Updates
	altered.Text += ", and is as it was before"
	return altered, true
}

// shape is a checksum over the columns that the views read.
func (t *Table) shape(name string) string {
	if t.sum != "" {
		return t.sum
	}
	return shapeOf(t.read(name))
}

// read returns the columns that the views read, in the order of their numbers.
func (t *Table) read(name string) []Column {
	ours := change.TableOf(name)
	return slices.DeleteFunc(slices.Clone(t.Columns), func(c Column) bool { return c.Dropped || ours.Column(c.Name) == nil })
}

func shapeOf(columns []Column) string {
	words := make([]string, len(columns))
	for i, c := range columns {
		words[i] = fmt.Sprintf("%s:%d:%d:%d:%s", c.Name, c.Number, c.Type, c.Mod, c.Generated)
	}
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(strings.Join(words, ","))))
}

// altered reports whether the columns that the views read are others than at the
// look b. A column that came since, with nothing in it for the rows that were
// there, was NULL for the views and still is.
func (t *Table) altered(b *Table, name string) bool {
	was, columns := b.shape(name), t.read(name)
	if t.shape(name) == was {
		return false
	}
	for i := len(columns) - 1; i >= 0 && columns[i].Missing == nil && columns[i].Generated == ""; i-- {
		if shapeOf(columns[:i]) == was {
			return false
		}
	}
	return true
}

// compareParts looks for rewrites, and for partitions that came or went with rows
// of which the stream does not tell.
func compareParts(b, n *Table, full string) (out []Finding) {
	at := func(parts []Part, oid uint32) *Part {
		if i := slices.IndexFunc(parts, func(p Part) bool { return p.OID == oid }); i >= 0 {
			return &parts[i]
		}
		return nil
	}
	if b.Parts == nil {
		return nil
	}
	for i := range b.Parts {
		was := &b.Parts[i]
		if is := at(n.Parts, was.OID); is != nil {
			out = append(out, was.compare(is, full)...)
		} else if was.Leaf {
			out = append(out, Finding{Text: fmt.Sprintf("partition %s of %s was dropped or detached", was.Name, full)})
		}
	}
	for i := range n.Parts {
		p := &n.Parts[i]
		if !p.Leaf || at(b.Parts, p.OID) != nil {
			continue
		}
		// Rows of a partition that was created as one came through the stream.
		for up := p; p.Filled && up != nil && at(b.Parts, up.OID) == nil; up = at(n.Parts, up.Parent) {
			if !up.Born {
				out = append(out, Finding{Text: fmt.Sprintf("partition %s, which has rows, was attached to %s", p.Name, full)})
				break
			}
		}
		first := *p
		first.File, first.Counted = p.OID, ""
		out = append(out, first.compare(p, full)...)
	}
	return out
}

// compare compares two looks at one part.
func (p *Part) compare(is *Part, full string) []Finding {
	same := p.File == is.File
	rewritten := !same && (p.Toast != 0 && p.Toast != is.Toast || p.Toast == 0 && p.Altered != is.Altered)
	which := full
	if p.Parent != 0 {
		which = fmt.Sprintf("%s (partition %s)", full, p.Name)
	}
	switch {
	case p.Permanent && !is.Permanent:
		return []Finding{{Lost: true, Text: which + " was set UNLOGGED, so its changes are not replicated"}}
	case p.Joined != is.Joined:
		return []Finding{{Text: fmt.Sprintf("partition %s of %s was detached and attached again", p.Name, full)}}
	case rewritten:
		return []Finding{{Text: "ALTER TABLE changed columns of " + which + ", or where they are kept"}}
	case p.Parent != 0 && !same && (is.Uncounted || is.Recent || p.Counted != is.Counted):
		return []Finding{{Truncated: is.XMin, Text: fmt.Sprintf("partition %s of %s was truncated", p.Name, full)}}
	case p.Leaf && !same && p.Toast == 0:
		return []Finding{{Truncated: is.XMin, Text: which + " has another file: it was rewritten, or UNLOGGED for a while"}}
	}
	return nil
}

// Tells reports whether a TRUNCATE of the table explains what a look may find.
func (t *Table) Tells() bool {
	return slices.ContainsFunc(t.Parts, func(p Part) bool { return p.Parent != 0 || p.Toast == 0 })
}

// Lasting returns the marks without what holds for the moment of the look only.
func (m *Marks) Lasting() *Marks {
	out := *m
	out.Tables = maps.Clone(m.Tables)
	for name, t := range out.Tables {
		c := *t
		c.Parts = slices.Clone(t.Parts)
		for i := range c.Parts {
			c.Parts[i].Filled, c.Parts[i].Recent = false, false
		}
		out.Tables[name] = &c
	}
	return &out
}

// Same reports whether two looks say the same, wherever they were taken.
func (m *Marks) Same(o *Marks) bool {
	a, b := *m, *o
	a.LSN, b.LSN = 0, 0
	return reflect.DeepEqual(a, b)
}

// Unfit says which part of a table does not bring its changes as it should, and
// the SQL that mends it; "" for none.
func (t *Table) Unfit() (text, sql string) {
	for _, p := range t.Parts {
		switch {
		case p.Parent == 0: // the checks of the table itself tell
		case !p.Permanent:
			return "partition " + p.Name + " is unlogged or foreign, so its changes are not replicated", "ALTER TABLE " + p.Name + " SET LOGGED"
		case p.Leaf && !p.Keyed:
			return "UPDATE and DELETE of partition " + p.Name + " would not carry the key", "ALTER TABLE " + p.Name + " REPLICA IDENTITY FULL"
		}
	}
	return "", ""
}

// Text is what the changelog keeps of the marks beside the copy that was made
// under them, for when the rest is lost.
func (m *Marks) Text() string {
	p := m.Publication
	words := []string{fmt.Sprintf("publication=%d/%s/%s/%d", p.OID, p.Content, p.XMin, p.Updates)}
	for _, name := range change.Tables() {
		if t := m.Tables[name]; t != nil {
			words = append(words, fmt.Sprintf("%s=%d/%s/%s", name, t.OID, t.Place, t.shape(name)))
		}
	}
	return strings.Join(words, " ")
}

// Parse reads what Text wrote; nil when there is nothing to compare with. Earlier
// versions wrote less: a number and what they made of it, with a point between.
func Parse(text string) *Marks {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil
	}
	number := func(s string) uint32 {
		s, _, _ = strings.Cut(s, ".")
		n, _ := strconv.ParseUint(s, 10, 32)
		return uint32(n)
	}
	m := &Marks{Tables: map[string]*Table{}}
	for i, w := range words {
		name, mark, named := strings.Cut(w, "=")
		if !named && i == 0 {
			name, mark = "publication", w
		}
		f := append(strings.Split(mark, "/"), "", "", "")
		switch {
		case name == "publication":
			m.Publication = Publication{OID: number(f[0]), Content: f[1], XMin: f[2]}
			m.Publication.Updates, _ = strconv.ParseInt(f[3], 10, 64)
			m.Publication.Earlier = m.Publication.Updates
		case f[2] == "":
			m.Tables[name] = &Table{OID: number(f[0]), sum: f[1]}
		default:
			m.Tables[name] = &Table{OID: number(f[0]), Place: f[1], sum: f[2]}
		}
	}
	return m
}
