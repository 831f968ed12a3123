package e2e_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// history checks the changelog against the auditor's record, bit by bit: what
// was checked once is not read again.
type history struct {
	*auditor
	next    change.Offset
	copied  bool
	point   change.LSN                // where the initial copy stands
	state   map[string]map[string]row // what the log leads to, by table and key
	before  map[string]map[string]row // what the audit leads to, until the copy
	records int
	txns    int
}

func newHistory() *history {
	h := &history{auditor: newAuditor(), next: 1, state: map[string]map[string]row{}, before: map[string]map[string]row{}}
	for _, t := range change.Tables() {
		h.state[t], h.before[t] = map[string]row{}, map[string]row{}
	}
	return h
}

// keyOf joins the key of a row.
func keyOf(table string, r row) string {
	var parts []string
	for _, c := range change.KeyColumns(table) {
		parts = append(parts, r[c].Text)
	}
	return strings.Join(parts, "\x00")
}

// named reads a row of the log.
func named(rel *change.Relation, r change.Row) row {
	if r == "" {
		return nil
	}
	out := row{}
	for i, v := range r.All() {
		out[rel.Columns[i].Name] = v
	}
	return out
}

// contract cuts a row down to the columns of the contract. Rows that were
// written before a column came have no event that tells of it.
func contract(table string, r row) row {
	if r == nil {
		return nil
	}
	out := row{}
	for _, c := range change.Standard(table).Columns {
		out[c.Name] = r[c.Name]
	}
	return out
}

func (r row) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r)) {
		switch v := r[k]; v.Kind {
		case change.Null:
			fmt.Fprintf(&b, "%s=NULL ", k)
		case change.Unchanged:
			fmt.Fprintf(&b, "%s=UNCHANGED ", k)
		default:
			fmt.Fprintf(&b, "%s=%.60q(%d) ", k, v.Text, len(v.Text))
		}
	}
	return b.String()
}

// entry is what the log should hold next.
type entry struct {
	op         change.Op
	table      string
	old, new   row
	everything bool // new has every column of its time, not those of the contract only
}

func (e entry) String() string {
	return fmt.Sprintf("%s %s %v -> %v", e.op, e.table, e.old, e.new)
}

// expected turns the audited changes of one transaction into entries.
func (h *history) expected(list []audited) []entry {
	var out []entry
	for _, c := range list {
		switch c.op {
		case "i":
			out = append(out, entry{change.Create, c.table, nil, c.new, true})
		case "d":
			out = append(out, entry{change.Delete, c.table, c.old, nil, false})
		case "t":
			out = append(out, entry{op: change.Truncate, table: c.table})
		default:
			if keyOf(c.table, c.old) == keyOf(c.table, c.new) {
				out = append(out, entry{change.Update, c.table, c.old, c.new, true})
			} else {
				out = append(out, entry{change.Delete, c.table, c.old, nil, false}, entry{change.Create, c.table, nil, c.new, true})
			}
		}
	}
	return out
}

// check reads what is new in the log of a stopped daemon. The auditor must have
// read everything, and the daemon must have been level.
func (h *history) check(t testing.TB, s *store.Store) {
	t.Helper()
	recs := h.readLog(t, s)
	if !h.copied {
		recs = h.checkCopy(t, recs)
	}
	for len(h.commits) > 0 {
		c := h.commits[0]
		h.commits = h.commits[1:]
		want := h.expected(h.changes[c.xid])
		delete(h.changes, c.xid)
		if len(want) > 0 {
			recs = h.checkTxn(t, c, want, recs)
			h.txns++
		}
	}
	if len(recs) > 0 {
		t.Fatalf("the log holds what Postgres did not commit, or holds it twice: %d records from offset %d (transaction %d, LSN %s)",
			len(recs), recs[0].Offset, recs[0].XID, recs[0].CommitLSN)
	}
	for k, n := range h.rows { // is the oracle itself complete?
		// Rolled back rows are not there on either side.
		if h.decoded[k] != n {
			t.Fatalf("the triggers saw %d of %q, the second slot %d", n, k, h.decoded[k])
		}
	}
}

// readLog reads every record that is new.
func (h *history) readLog(t testing.TB, s *store.Store) (recs []change.Record) {
	t.Helper()
	recs, err := storetest.ReadAll(s.NewReader(h.next))
	if err != nil {
		t.Fatalf("read the changelog: %v", err)
	}
	for i, rec := range recs {
		if i == 0 && h.records == 0 {
			h.next = rec.Offset // a new log begins where no other can have been
		}
		if rec.Offset != h.next {
			t.Fatalf("offset %d follows %d", rec.Offset, h.next-1)
		}
		h.next++
	}
	if end := s.Position().Offset; end != h.next-1 {
		t.Fatalf("the position is %d, the last record %d", end, h.next-1)
	}
	h.records += len(recs)
	return recs
}

// checkCopy checks the records of the initial copy: each row of that moment
// once. It returns the records behind.
func (h *history) checkCopy(t testing.TB, recs []change.Record) []change.Record {
	t.Helper()
	h.copied = true
	n := 0
	for ; n < len(recs) && recs[n].Snapshot; n++ {
		rec := recs[n]
		h.point = rec.CommitLSN
		table := rec.Relation.Name
		r := named(rec.Relation, rec.After)
		if _, twice := h.state[table][keyOf(table, r)]; twice || rec.Op != change.Read {
			t.Fatalf("offset %d: the copy has %s of %s %q twice, or not as a read", rec.Offset, rec.Op, table, keyOf(table, r))
		}
		h.state[table][keyOf(table, r)] = r
	}
	if n == 0 {
		t.Fatal("the log does not begin with a copy")
	}
	for len(h.commits) > 0 && h.commits[0].end <= h.point {
		for _, e := range h.expected(h.changes[h.commits[0].xid]) {
			e.apply(h.before)
		}
		delete(h.changes, h.commits[0].xid)
		h.commits = h.commits[1:]
	}
	for table, rows := range h.before {
		sameRows(t, "the copy of "+table, table, h.state[table], rows)
	}
	h.before = nil
	return recs[n:]
}

// apply gives the entry's effect to tables.
func (e entry) apply(tables map[string]map[string]row) {
	switch {
	case e.op == change.Truncate:
		clear(tables[e.table])
	case e.new == nil:
		delete(tables[e.table], keyOf(e.table, e.old))
	default:
		tables[e.table][keyOf(e.table, e.new)] = e.new
	}
}

// checkTxn checks the records of one transaction, which come next, and returns
// those behind.
func (h *history) checkTxn(t testing.TB, c commit, want []entry, recs []change.Record) []change.Record {
	t.Helper()
	order := uint64(0)
	var rec change.Record
	at := func(what string, args ...any) {
		t.Helper()
		where := "at the end of the log"
		if len(recs) > 0 {
			where = fmt.Sprintf("at offset %d (transaction %d, LSN %s, end %s, ordinal %d): %s %s %v -> %v", rec.Offset, rec.XID, rec.CommitLSN, rec.EndLSN, rec.Order,
				rec.Op, rec.Relation.Name, named(rec.Relation, rec.Before), named(rec.Relation, rec.After))
		}
		t.Fatalf("transaction %d ends at %s and has %d changes: %s\n%s", c.xid, c.end, len(want), fmt.Sprintf(what, args...), where)
	}
	for i, w := range want {
		if len(recs) == 0 {
			at("change %d is missing: %v", i+1, w)
		}
		rec = recs[0]
		if rec.XID != c.xid || rec.Op != w.op || rec.Relation.Name != w.table || rec.Snapshot {
			at("change %d should be: %v", i+1, w)
		}
		if order++; rec.Order != order {
			at("its ordinal should be %d, not %d", order, rec.Order)
		}
		if rec.EndLSN != 0 && rec.EndLSN != c.end {
			at("its end is %s", rec.EndLSN)
		}
		if old := contract(w.table, named(rec.Relation, rec.Before)); !maps.Equal(old, contract(w.table, w.old)) {
			at("the row before change %d should be %v", i+1, w.old)
		}
		if !maps.Equal(named(rec.Relation, rec.After), w.new) {
			at("the row after change %d should be %v", i+1, w.new)
		}
		recs = recs[1:]
		if w.op == change.Truncate {
			recs = h.checkRetracts(t, w.table, recs, &order)
		}
		w.apply(h.state)
		if i == len(want)-1 && !rec.Last && w.op != change.Truncate {
			at("the last change is not marked")
		}
	}
	return recs
}

// checkRetracts checks the ends of the rows behind a TRUNCATE.
func (h *history) checkRetracts(t testing.TB, table string, recs []change.Record, order *uint64) []change.Record {
	t.Helper()
	rows := maps.Clone(h.state[table])
	for len(recs) > 0 && recs[0].Op == change.Retract && recs[0].Relation.Name == table && len(rows) > 0 {
		r := named(recs[0].Relation, recs[0].Before)
		k := keyOf(table, r)
		if old, ok := rows[k]; !ok || !maps.Equal(contract(table, r), contract(table, old)) {
			t.Fatalf("offset %d: TRUNCATE takes back %s %v, which should be %v", recs[0].Offset, table, r, old)
		}
		delete(rows, k)
		*order++
		recs = recs[1:]
	}
	if len(rows) > 0 {
		t.Fatalf("TRUNCATE of %s leaves %d rows", table, len(rows))
	}
	return recs
}

func sameRows(t testing.TB, what, table string, got, want map[string]row) {
	t.Helper()
	if d := rowsDiffer(table, got, want); d != "" {
		t.Fatalf("%s: %s", what, d)
	}
}

func rowsDiffer(table string, got, want map[string]row) string {
	for k, r := range want {
		if !maps.Equal(contract(table, got[k]), contract(table, r)) {
			return fmt.Sprintf("row %q is %v, should be %v", k, got[k], r)
		}
	}
	for k, r := range got {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("row %q is too much: %v", k, r)
		}
	}
	return ""
}

// checkState compares what the log leads to with the tables.
func (h *history) checkState(t testing.TB, conn *pgx.Conn) {
	t.Helper()
	if d := h.differs(t, conn); d != "" {
		t.Fatalf("what the log says of %s", d)
	}
}

// differs describes where what the log leads to is not what the tables hold.
func (h *history) differs(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	for _, table := range change.Tables() {
		want := map[string]row{}
		rows, err := conn.Query(t.Context(), "SELECT row_to_json(x)::text FROM "+table+" x")
		if err != nil {
			t.Fatal(err)
		}
		var text string
		_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
			r, err := decodeRow(&text)
			want[keyOf(table, r)] = r
			return err
		})
		if err != nil {
			t.Fatalf("read %s: %v", table, err)
		}
		if d := rowsDiffer(table, h.state[table], want); d != "" {
			return table + ": " + d
		}
	}
	return ""
}

// copyDir copies a data directory, so that looking into it changes nothing.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatalf("copy the data directory: %v", err)
	}
	return to
}

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{NoSync: true})
	if err != nil {
		t.Fatalf("open %s: %v", dir, err)
	}
	return s
}

// checkRebuild replays the log without the checkpoint: the same state, bit by
// bit.
func checkRebuild(t testing.TB, dir string) {
	t.Helper()
	whole, bare := copyDir(t, dir), copyDir(t, dir)
	if err := os.Remove(filepath.Join(bare, "checkpoint.db")); err != nil {
		t.Fatal(err)
	}
	a, b := openStore(t, whole), openStore(t, bare)
	defer a.Close()
	defer b.Close()
	if a.Position() != b.Position() {
		t.Fatalf("position %+v with the checkpoint, %+v without", a.Position(), b.Position())
	}
	for _, table := range change.Tables() {
		var names []string
		for _, c := range change.Standard(table).Columns {
			names = append(names, c.Name)
		}
		names = append(names, "extra", "extra2")
		x, err := a.Rows(t.Context(), table, names)
		if err != nil {
			t.Fatal(err)
		}
		y, err := b.Rows(t.Context(), table, names)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(x, y) {
			t.Fatalf("%s differs with the checkpoint (%d rows) and without (%d rows)", table, len(x), len(y))
		}
	}
	report, err := store.Check(copyDir(t, dir))
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("check: %v %v", err, report)
	}
}
