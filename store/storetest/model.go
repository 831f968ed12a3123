package storetest

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"carbond/store/change"
)

// Model is the tables as maps from key to column values.
type Model struct {
	Tables map[string]map[string]map[string]change.Value
	// Log is what a complete changelog would hold, one line a change.
	Log []string
}

// NewModel returns an empty model.
func NewModel() *Model {
	m := &Model{Tables: map[string]map[string]map[string]change.Value{}}
	for _, t := range change.Tables() {
		m.Tables[t] = map[string]map[string]change.Value{}
	}
	return m
}

// Clone returns a deep enough copy: rows are never changed in place.
func (m *Model) Clone() *Model {
	c := &Model{Tables: map[string]map[string]map[string]change.Value{}, Log: slices.Clone(m.Log)}
	for t, rows := range m.Tables {
		c.Tables[t] = maps.Clone(rows)
	}
	return c
}

// Sorted returns the rows of a table by key.
func (m *Model) Sorted(table string) iter.Seq[map[string]change.Value] {
	return func(yield func(map[string]change.Value) bool) {
		for _, k := range slices.Sorted(maps.Keys(m.Tables[table])) {
			if !yield(m.Tables[table][k]) {
				return
			}
		}
	}
}

// Key joins the key values of a row.
func Key(table string, row map[string]change.Value) string {
	var parts []string
	for _, c := range change.KeyColumns(table) {
		parts = append(parts, row[c].Text)
	}
	return strings.Join(parts, "|")
}

// Apply gives the model the effect of a source transaction.
func (m *Model) Apply(t change.Txn) {
	for _, c := range t.Changes {
		rows := m.Tables[c.Relation.Name]
		if c.Relation.Plain {
			m.plain(c)
			continue
		}
		switch c.Op {
		case change.Truncate:
			m.Log = append(m.Log, fmt.Sprintf("t %s", c.Relation.Name))
			clear(rows)
		case change.Delete:
			k := Key(c.Relation.Name, named(c.Relation, c.Before))
			m.Log = append(m.Log, line("d", c.Relation, rows[k], nil))
			delete(rows, k)
		case change.Update:
			was := c.Before
			if was == "" {
				was = c.After
			}
			k := Key(c.Relation.Name, named(c.Relation, was))
			old := rows[k]
			row := named(c.Relation, c.After)
			for name, v := range row {
				if v.Kind == change.Unchanged {
					row[name] = old[name]
				}
			}
			if nk := Key(c.Relation.Name, row); nk != k {
				m.Log = append(m.Log, line("d", c.Relation, old, nil), line("c", c.Relation, nil, row))
				delete(rows, k)
				rows[nk] = row
			} else {
				m.Log = append(m.Log, line("u", c.Relation, old, row))
				rows[k] = row
			}
		default:
			row := named(c.Relation, c.After)
			m.Log = append(m.Log, line(c.Op.String(), c.Relation, nil, row))
			rows[Key(c.Relation.Name, row)] = row
		}
	}
}

// plain notes a change of a table without a view: the log has it as it came, but
// for a change of the key.
func (m *Model) plain(c change.Change) {
	lines := []change.Change{c}
	if c.Op == change.Update && c.Before != "" {
		lines = []change.Change{{Op: change.Delete, Relation: c.Relation, Before: c.Before}, {Op: change.Create, Relation: c.Relation, After: c.After}}
	}
	for _, l := range lines {
		m.Log = append(m.Log, RecordLine(change.Record{Change: l}))
	}
}

func named(rel *change.Relation, r change.Row) map[string]change.Value {
	out := map[string]change.Value{}
	for i, v := range r.All() {
		out[rel.Columns[i].Name] = v
	}
	return out
}

func line(op string, rel *change.Relation, before, after map[string]change.Value) string {
	return fmt.Sprintf("%s %s %s -> %s", op, rel.Name, text(before), text(after))
}

func text(row map[string]change.Value) string {
	if row == nil {
		return "-"
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(row)) {
		if v := row[k]; v.Kind == change.Text {
			fmt.Fprintf(&b, "%s=%q ", k, v.Text)
		}
	}
	return b.String()
}

// removedLine is that of a change that retention has taken.
const removedLine = "removed"

// DiffLog compares the lines of a changelog with those of the model, where the log may
// lack changes of tables without a view, and describes the first difference, "" when
// there is none.
func DiffLog(got, want []string) string {
	if len(got) != len(want) {
		return fmt.Sprintf("the log has %d records, want %d", len(got), len(want))
	}
	for i := range got {
		if gone := got[i] == removedLine && strings.Contains(want[i]+" ", " orders "); !gone && got[i] != want[i] {
			return fmt.Sprintf("record %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
	return ""
}

// RecordLine gives a changelog record the form of Model.Log, "" for records
// that consumers do not see.
func RecordLine(r change.Record) string {
	switch r.Op {
	case change.Retract:
		return ""
	case change.Removed:
		return removedLine
	case change.Truncate:
		return "t " + r.Relation.Name
	}
	var before, after map[string]change.Value
	if r.Before != "" {
		before = named(r.Relation, r.Before)
	}
	if r.After != "" {
		after = named(r.Relation, r.After)
	}
	return line(r.Op.String(), r.Relation, before, after)
}

func num(v change.Value) float64 {
	f, _ := strconv.ParseFloat(v.Text, 64)
	return f
}

func when(v change.Value) (time.Time, bool) {
	t, err := time.Parse("2006-01-02 15:04:05.999999Z07", v.Text)
	return t, v.Kind == change.Text && err == nil
}

// byTimeDesc orders as ORDER BY x DESC NULLS LAST.
func byTimeDesc(a, b change.Value) int {
	x, ok1 := when(a)
	y, ok2 := when(b)
	switch {
	case ok1 && ok2:
		return y.Compare(x)
	case ok1:
		return -1
	case ok2:
		return 1
	}
	return 0
}

// Projects answers as the projects SQL does.
func (m *Model) Projects(country string) []change.Project {
	var out []change.Project
	for _, id := range slices.Sorted(maps.Keys(m.Tables[change.Verra])) {
		v := m.Tables[change.Verra][id]
		if country != "" && v["country"].Text != country {
			continue
		}
		p := change.Project{
			ProjectID: id, ProjectName: v["project_name"].Text, RegistryStatus: v["registry_status"].Text,
			Country: v["country"].Text, Vintage: int32(num(v["vintage"])), Supply: num(v["supply"]),
			Registry: v["registry"].Text, Methodology: v["methodology"].Text, ProjectType: v["project_type"].Text,
			Region: v["region"].Text, HasSupply: v["supply"].Kind == change.Text && v["registry"].Kind == change.Text,
		}
		c := m.partner(id)
		if c != nil && c["project_name"].Kind == change.Text {
			p.ProjectName = c["project_name"].Text
		}
		p.PriceUSD = num(c["price_usd"])
		p.Null = nulls(&change.Projects.ViewDef, map[string]map[string]change.Value{change.Verra: v, change.Carbonmark: c})
		out = append(out, p)
	}
	return out
}

// Vintages answers what became of the credits of a project.
func (m *Model) Vintages(id string) (out []change.VintageSupply) {
	for _, r := range m.Tables[change.Vintages] {
		if r["project_id"].Text == id {
			out = append(out, change.VintageSupply{
				Vintage: int32(num(r["vintage"])), Issued: num(r["issued"]), Retired: num(r["retired"]), Cancelled: num(r["cancelled"]), Available: num(r["available"]),
				Null: nulls(&change.VintageSupplies.ViewDef, map[string]map[string]change.Value{change.Vintages: r}),
			})
		}
	}
	slices.SortFunc(out, func(a, b change.VintageSupply) int { return cmp.Compare(a.Vintage, b.Vintage) })
	return out
}

func (m *Model) partner(id string) map[string]change.Value {
	var best map[string]change.Value
	for _, c := range m.Tables[change.Carbonmark] {
		if c["project_id"].Kind != change.Text || c["project_id"].Text != id {
			continue
		}
		if best == nil || cmp.Or(byTimeDesc(c["updated_at"], best["updated_at"]), cmp.Compare(best["id"].Text, c["id"].Text)) < 0 {
			best = c
		}
	}
	return best
}

// nulls tells which fields of a view are NULL, of the rows of its tables.
func nulls(d *change.ViewDef, rows map[string]map[string]change.Value) (n change.Nulls) {
	for i, f := range d.Fields {
		known := len(f.From) == 0
		from := f.From
		if f.Known {
			from = from[1:]
		}
		for _, from := range from {
			table, column, _ := strings.Cut(from, ".")
			known = known || rows[table][column].Kind == change.Text
		}
		if !known {
			n.Set(i)
		}
	}
	return n
}

// News answers as the news SQL does.
func (m *Model) News(source string) []change.NewsItem {
	var rows []map[string]change.Value
	for _, r := range m.Tables[change.News] {
		if source == "" || r["source"].Text == source {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b map[string]change.Value) int {
		return cmp.Or(byTimeDesc(a["published_at"], b["published_at"]), cmp.Compare(a["guid"].Text, b["guid"].Text))
	})
	var out []change.NewsItem
	for _, r := range rows[:min(len(rows), change.NewsLimit)] {
		out = append(out, change.NewsItem{
			GUID: r["guid"].Text, Title: r["title"].Text, Link: r["link"].Text,
			Published: r["published"].Text, Source: r["source"].Text, Summary: r["summary"].Text,
			PublishedEstimated: r["published_estimated"].Text == "t",
			Null:               nulls(&change.NewsItems.ViewDef, map[string]map[string]change.Value{change.News: r}),
		})
	}
	return out
}

// Quotes answers as the finance SQL does.
func (m *Model) Quotes(ticker string) []change.Quote {
	best := map[string]change.Quote{}
	for _, r := range m.Tables[change.Finance] {
		q := change.Quote{
			Ticker: r["ticker"].Text, Price: num(r["price"]), Volume: int64(num(r["volume"])),
			MarketCap: num(r["market_cap"]), ChangePercent: num(r["change_percent"]), Timestamp: int64(num(r["timestamp"])),
			Currency: r["currency"].Text,
			Null:     nulls(&change.Quotes.ViewDef, map[string]map[string]change.Value{change.Finance: r}),
		}
		if ticker != "" && q.Ticker != ticker {
			continue
		}
		if b, ok := best[q.Ticker]; !ok || q.Timestamp > b.Timestamp {
			best[q.Ticker] = q
		}
	}
	var out []change.Quote
	for _, k := range slices.Sorted(maps.Keys(best)) {
		out = append(out, best[k])
	}
	return out
}
