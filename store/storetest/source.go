package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"carbond/store/change"
)

// Source generates source transactions from a seed, as pgoutput would deliver
// them: deletes and key changes carry the key only, long values may come as
// unchanged, tables may be truncated. Its Model always holds what the source
// holds, so transaction n is the same in every run of the same seed.
type Source struct {
	Model *Model
	// Steady keeps the columns as they are.
	Steady bool
	// Plain has it change tables without a view too.
	Plain bool

	rng   *rand.Rand
	extra *rand.Rand // for tables without a view, so that they change nothing else
	rels  map[string]*change.Relation
	lsn   change.LSN
	xid   uint32
	n     int
}

// NewSource returns a source without rows.
func NewSource(seed uint64) *Source {
	s := &Source{Model: NewModel(), rng: rand.New(rand.NewPCG(seed, 0)), extra: rand.New(rand.NewPCG(seed, 1)), rels: map[string]*change.Relation{}, lsn: 1 << 20}
	for _, t := range change.Tables() {
		s.rels[t] = change.Standard(t)
	}
	return s
}

// Branch returns a source that stands where this one does, and goes on as
// another seed says.
func (s *Source) Branch(seed uint64) *Source {
	b := *s
	b.Model, b.rels, b.rng, b.extra = s.Model.Clone(), maps.Clone(s.rels), rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1))
	return &b
}

// Countries, sources and tickers that the generator draws from.
var (
	Countries = []string{"Brazil", "India", "Kenya", "Peru", ""}
	Outlets   = []string{"Reuters", "BBC", "The Guardian", ""}
	Tickers   = []string{"KRBN", "GRN", "NEE", "A", "A\x01"}
)

// Relation returns a table as the source describes it now.
func (s *Source) Relation(table string) *change.Relation { return s.rels[table] }

// Next returns the next transaction, whole.
func (s *Source) Next() change.Txn {
	s.n++
	s.xid++
	s.lsn += change.LSN(8 + s.rng.IntN(1000))
	t := change.Txn{
		XID: s.xid, CommitLSN: s.lsn, EndLSN: s.lsn + change.LSN(1+s.rng.IntN(40)),
		CommitTime: time.Unix(1_700_000_000+int64(s.n), 0).UTC(), First: true, Final: true,
	}
	for range s.rng.IntN(6) {
		if s.Plain && s.extra.IntN(3) == 0 {
			t.Changes = append(t.Changes, s.plain())
		}
		c := s.change()
		c.LSN = s.lsn - change.LSN(s.rng.IntN(8))
		s.Model.Apply(change.Txn{Changes: []change.Change{c}})
		t.Changes = append(t.Changes, c)
	}
	for s.Plain && s.extra.IntN(3) == 0 {
		t.Changes = append(t.Changes, s.plain())
	}
	s.lsn = t.EndLSN
	return t
}

// plain returns a change of a table without a view, as the source sends it:
// nobody knows the row before.
func (s *Source) plain() change.Change {
	id := s.extra.IntN(4)
	rel := &change.Relation{Schema: "shop", Name: "orders " + strconv.Itoa(id%2), Plain: true, Columns: []change.Column{
		{Name: "id", Type: change.OIDInt4, Key: true}, {Name: "note", Type: change.OIDText},
	}}
	if s.extra.IntN(20) == 0 { // ALTER TABLE
		rel.Columns = append(rel.Columns, change.Column{Name: "more", Type: change.OIDText})
	}
	row := func(id int, rest change.Value) change.Row {
		vals := []change.Value{change.T(strconv.Itoa(id)), rest, {}}
		return change.NewRow(vals[:len(rel.Columns)]...)
	}
	c := change.Change{Relation: rel, LSN: s.lsn}
	key := row(id, change.Value{})
	switch s.extra.IntN(12) {
	case 0:
		c.Op = change.Truncate
	case 1, 2:
		c.Op, c.Before = change.Delete, key
	case 3:
		c.Op, c.Before, c.After = change.Update, key, row(id+1, change.Value{Kind: change.Unchanged})
	case 4, 5, 6:
		c.Op, c.After = change.Update, row(id, change.Value{Kind: change.Unchanged})
	default:
		c.Op, c.After = change.Create, row(id, change.T(strconv.Itoa(s.n)))
	}
	s.Model.Apply(change.Txn{Changes: []change.Change{c}})
	return c
}

func (s *Source) change() change.Change {
	table := change.Tables()[s.rng.IntN(len(change.Tables()))]
	rel := s.rels[table]
	if s.rng.IntN(60) == 0 && !s.Steady {
		s.alter(table)
		rel = s.rels[table]
	}
	if s.rng.IntN(80) == 0 {
		return change.Change{Op: change.Truncate, Relation: rel}
	}
	rows := s.Model.Tables[table]
	keys := slices.Sorted(maps.Keys(rows))
	if len(keys) == 0 || s.rng.IntN(3) == 0 {
		row := s.row(table)
		if _, taken := rows[Key(table, row)]; !taken {
			return change.Change{Op: change.Create, Relation: rel, After: Encode(rel, row)}
		}
	}
	if len(keys) == 0 {
		return change.Change{Op: change.Truncate, Relation: rel}
	}
	old := rows[keys[s.rng.IntN(len(keys))]]
	if s.rng.IntN(4) == 0 {
		return change.Change{Op: change.Delete, Relation: rel, Before: s.keyOnly(rel, old)}
	}
	return s.update(rel, old)
}

func (s *Source) update(rel *change.Relation, old map[string]change.Value) change.Change {
	row := s.row(rel.Name)
	c := change.Change{Op: change.Update, Relation: rel}
	_, taken := s.Model.Tables[rel.Name][Key(rel.Name, row)]
	if s.rng.IntN(4) == 0 && !taken {
		c.Before = s.keyOnly(rel, old) // the key changes
	} else {
		for _, k := range change.KeyColumns(rel.Name) {
			row[k] = old[k]
		}
	}
	for _, col := range rel.Columns {
		// Postgres leaves out long values only, so never a NULL.
		if col.Type == change.OIDText && !col.Key && s.rng.IntN(3) == 0 && old[col.Name].Kind == change.Text {
			row[col.Name] = change.Value{Kind: change.Unchanged}
		}
	}
	c.After = Encode(rel, row)
	return c
}

// alter adds, drops or moves a column that no view reads.
func (s *Source) alter(table string) {
	old := s.rels[table]
	r := &change.Relation{Schema: old.Schema, Name: old.Name, Columns: slices.Clone(old.Columns)}
	if i := r.Index("extra"); i >= 0 {
		r.Columns = slices.Delete(r.Columns, i, i+1)
	} else {
		r.Columns = slices.Insert(r.Columns, s.rng.IntN(len(r.Columns)+1), change.Column{Name: "extra", Type: change.OIDText})
	}
	s.rels[table] = r
	rows := s.Model.Tables[table]
	for k, row := range rows { // a column that comes or goes is NULL in old rows
		row = maps.Clone(row)
		delete(row, "extra")
		rows[k] = row
	}
}

// keyOnly is the 'K' tuple: key columns set, all others NULL.
func (s *Source) keyOnly(rel *change.Relation, row map[string]change.Value) change.Row {
	k := map[string]change.Value{}
	for _, c := range change.KeyColumns(rel.Name) {
		k[c] = row[c]
	}
	return Encode(rel, k)
}

// Encode lays out a row as a relation has it.
func Encode(rel *change.Relation, row map[string]change.Value) change.Row {
	vals := make([]change.Value, len(rel.Columns))
	for i, c := range rel.Columns {
		vals[i] = row[c.Name]
	}
	return change.NewRow(vals...)
}

func (s *Source) row(table string) map[string]change.Value {
	r := s.rng
	row := map[string]change.Value{"extra": change.T(strconv.Itoa(r.IntN(9)))}
	if s.rels[table].Index("extra") < 0 {
		delete(row, "extra")
	}
	maybe := func(name, v string) {
		if r.IntN(8) > 0 {
			row[name] = change.T(v)
		} else {
			row[name] = change.Value{}
		}
	}
	stamp := time.Unix(1_700_000_000+int64(r.IntN(50)), int64(r.IntN(3))*500_000_000).UTC().Format("2006-01-02 15:04:05.999999") + "+00"
	switch table {
	case change.Verra:
		row["project_id"] = change.T(fmt.Sprintf("VCS-%d", r.IntN(12)))
		for _, c := range []string{"project_name", "project_link", "project_summary", "registry_status"} {
			maybe(c, fmt.Sprintf("%s %d", c, r.IntN(100)))
		}
		maybe("country", Countries[r.IntN(len(Countries))])
		maybe("vintage", strconv.Itoa(2000+r.IntN(25)))
		maybe("supply", strconv.FormatFloat(r.Float64()*1e6, 'g', -1, 64))
		for _, c := range []string{"registry", "methodology", "project_type", "region", "proponent"} {
			maybe(c, fmt.Sprintf("%s %d", c, r.IntN(10)))
		}
		maybe("crediting_start", fmt.Sprintf("20%02d-01-02", r.IntN(30)))
		maybe("latitude", strconv.Itoa(r.IntN(180)-90))
		row["id"] = change.T(strconv.Itoa(r.IntN(1000)))
		row["updated_at"] = change.T(stamp)
	case change.Carbonmark:
		row["id"] = change.T(fmt.Sprintf("c%d", r.IntN(20)))
		maybe("project_id", fmt.Sprintf("VCS-%d", r.IntN(12)))
		maybe("project_name", fmt.Sprintf("market name %d", r.IntN(100)))
		maybe("vintage", strconv.Itoa(2000+r.IntN(25)))
		maybe("amount", strconv.Itoa(r.IntN(1000)))
		maybe("price_usd", strconv.Itoa(r.IntN(3)))
		maybe("updated_at", stamp)
	case change.Finance:
		row["ticker"] = change.T(Tickers[r.IntN(len(Tickers))])
		row["timestamp"] = change.T(strconv.Itoa(r.IntN(30) - 5))
		maybe("price", strconv.FormatFloat(r.Float64()*100, 'g', -1, 64))
		maybe("volume", strconv.Itoa(r.IntN(1e6)))
		maybe("market_cap", "Infinity")
		maybe("change_percent", strconv.Itoa(r.IntN(10)-5))
		maybe("currency", []string{"USD", "GBp"}[r.IntN(2)])
	case change.News:
		row["guid"] = change.T(fmt.Sprintf("g%d", r.IntN(180)))
		for _, c := range []string{"title", "link", "published", "summary"} {
			maybe(c, fmt.Sprintf("%s %d", c, r.IntN(100)))
		}
		maybe("source", Outlets[r.IntN(len(Outlets))])
		maybe("published_at", stamp)
		maybe("published_estimated", []string{"t", "f"}[r.IntN(2)])
	case change.Vintages:
		row["project_id"] = change.T(fmt.Sprintf("VCS-%d", r.IntN(12)))
		row["vintage"] = change.T(strconv.Itoa(2015 + r.IntN(6)))
		for _, c := range []string{"issued", "retired", "cancelled", "available"} {
			maybe(c, strconv.Itoa(r.IntN(1000)))
		}
		maybe("updated_at", stamp)
	}
	return row
}

// Split cuts a transaction into parts of at most n changes.
func Split(t change.Txn, n int) []change.Txn {
	var out []change.Txn
	for i := 0; i == 0 || i < len(t.Changes); i += n {
		p := t
		p.Changes = t.Changes[i:min(i+n, len(t.Changes))]
		p.First, p.Final = i == 0, i+n >= len(t.Changes)
		if !p.Final {
			p.EndLSN = 0
		}
		out = append(out, p)
	}
	return out
}
