package replicate_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// memSink is the Sink of the tests: a changelog and the state of the tables in
// memory. It checks its side of the contract and panics on a breach.
type memSink struct {
	mu     sync.Mutex
	pos    change.Position
	txns   []change.Txn // whole source transactions in order, snapshot included
	staged *change.Txn
	parts  int // parts of the last large transaction
	tables map[string]map[string]map[string]string
	copied map[string]map[string]bool // keys seen by the copy under way

	redelivered int
	advances    int
	plain       map[string][]change.Change // by topic
	marks       map[string]string
	hook        func(txns []change.Txn) error // before anything is done, nil for Advance
}

func newSink() *memSink {
	m := &memSink{tables: map[string]map[string]map[string]string{}, plain: map[string][]change.Change{}, marks: map[string]string{}}
	for _, t := range change.Tables() {
		m.tables[t] = map[string]map[string]string{}
	}
	return m
}

func (m *memSink) Position() change.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pos
}

func (m *memSink) Advance(_ context.Context, lsn change.LSN) error {
	if err := m.call(nil); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pos.LSN = max(m.pos.LSN, lsn)
	m.advances++
	return nil
}

func (m *memSink) Since(_ context.Context, lsn change.LSN) (change.LSN, func() (change.TxnID, error), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []change.TxnID
	for _, t := range m.txns {
		if t.Snapshot != nil {
			ids = nil
		} else if t.EndLSN > lsn {
			ids = append(ids, change.TxnID{XID: t.XID, CommitLSN: t.CommitLSN, EndLSN: t.EndLSN, CommitTime: t.CommitTime})
		}
	}
	return max(lsn, m.pos.CopyLSN), func() (change.TxnID, error) {
		if len(ids) == 0 {
			return change.TxnID{}, io.EOF
		}
		id := ids[0]
		ids = ids[1:]
		return id, nil
	}, nil
}

func (m *memSink) Marks() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.marks)
}

func (m *memSink) call(txns []change.Txn) error {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(txns)
}

func (m *memSink) setHook(f func([]change.Txn) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = f
}

func (m *memSink) Apply(_ context.Context, txns []change.Txn) error {
	if err := m.call(txns); err != nil {
		m.mu.Lock()
		m.staged = nil
		m.mu.Unlock()
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range txns {
		if err := m.part(t); err != nil {
			return err
		}
	}
	return nil
}

func (m *memSink) part(t change.Txn) error {
	switch {
	case t.First:
		cp := t
		m.staged, m.parts = &cp, 1
		if t.Snapshot != nil || t.Copy != nil {
			m.copied = map[string]map[string]bool{}
		}
	case m.staged == nil || m.staged.XID != t.XID || m.staged.CommitLSN != t.CommitLSN:
		return fmt.Errorf("part of transaction %d does not continue what is staged", t.XID)
	default:
		m.parts++
		m.staged.Changes = append(m.staged.Changes[:len(m.staged.Changes):len(m.staged.Changes)], t.Changes...)
		m.staged.Final, m.staged.EndLSN = t.Final, t.EndLSN
	}
	if !t.Final {
		if t.EndLSN != 0 {
			return fmt.Errorf("a part that is not final has an end")
		}
		return nil
	}
	whole := *m.staged
	m.staged = nil
	if whole.Snapshot == nil && whole.Copy == nil && whole.EndLSN <= m.pos.LSN {
		m.redelivered++
		return nil
	}
	for i, c := range whole.Changes {
		if err := m.change(c); err != nil {
			return fmt.Errorf("change %d of transaction %d at %s after %s: %w", i, whole.XID, whole.EndLSN, m.pos.LSN, err)
		}
	}
	m.pos.Offset += change.Offset(len(whole.Changes))
	if whole.Copy != nil {
		m.marks[whole.Copy.Topic] = whole.Copy.Mark
		for k := range m.tables[whole.Copy.Whole] {
			if !m.copied[whole.Copy.Whole][k] {
				delete(m.tables[whole.Copy.Whole], k)
			}
		}
		return nil
	}
	m.txns = append(m.txns, whole)
	m.pos.LSN, m.pos.CommitTime = whole.EndLSN, whole.CommitTime
	if whole.Snapshot != nil {
		m.pos.CopyLSN = whole.EndLSN
		m.pos.Source, m.pos.Copied = whole.Snapshot.Source, true
		maps.Copy(m.marks, whole.Snapshot.Marks)
		for name, rows := range m.tables {
			for k := range rows {
				if !m.copied[name][k] {
					delete(rows, k)
				}
			}
		}
	}
	return nil
}

func key(rel *change.Relation, r change.Row) string {
	var parts []string
	for _, k := range change.KeyColumns(rel.Name) {
		parts = append(parts, r.Value(rel.Index(k)).Text)
	}
	return strings.Join(parts, "\x00")
}

func (m *memSink) change(c change.Change) error {
	if c.Relation.Plain {
		m.plain[c.Relation.Topic()] = append(m.plain[c.Relation.Topic()], c)
		return nil
	}
	rows := m.tables[c.Relation.Name]
	if rows == nil {
		return fmt.Errorf("a change of table %s", c.Relation.Name)
	}
	for _, r := range []change.Row{c.Before, c.After} {
		if err := r.Check(); r != "" && err != nil {
			return err
		}
	}
	switch c.Op {
	case change.Truncate:
		clear(rows)
		return nil
	case change.Delete:
		k := key(c.Relation, c.Before)
		if rows[k] == nil {
			return fmt.Errorf("delete of an unknown row %q", k)
		}
		delete(rows, k)
		return nil
	}
	k := key(c.Relation, c.After)
	old := rows[k]
	if c.Op == change.Update {
		if c.Before != "" {
			before := key(c.Relation, c.Before)
			old = rows[before]
			delete(rows, before)
		}
		if old == nil {
			return fmt.Errorf("update of an unknown row %q", k)
		}
	} else if c.Op == change.Create && old != nil {
		return fmt.Errorf("insert of row %q, which is there", k)
	}
	next := map[string]string{}
	for i, v := range c.After.All() {
		name := c.Relation.Columns[i].Name
		switch v.Kind {
		case change.Text:
			next[name] = v.Text
		case change.Null:
			next[name] = "NULL"
		case change.Unchanged:
			text, ok := old[name]
			if !ok {
				return fmt.Errorf("%w: column %s of row %q is unchanged, but unknown", change.ErrDiverged, name, k)
			}
			next[name] = text
		}
	}
	rows[k] = next
	if c.Op == change.Read {
		if m.copied[c.Relation.Name] == nil {
			m.copied[c.Relation.Name] = map[string]bool{}
		}
		m.copied[c.Relation.Name][k] = true
	}
	return nil
}

// lines renders a table as sorted lines of the given columns.
func (m *memSink) lines(table string, columns []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, row := range m.tables[table] {
		var parts []string
		for _, c := range columns {
			if _, ok := row[c]; !ok { // the column is younger than the row
				parts = append(parts, "NULL")
				continue
			}
			parts = append(parts, row[c])
		}
		out = append(out, strings.Join(parts, "|"))
	}
	sort.Strings(out)
	return out
}

// transactions returns what was applied so far, snapshots included.
func (m *memSink) transactions() []change.Txn {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]change.Txn(nil), m.txns...)
}

// sameAsSQL compares every table with the database.
func (m *memSink) sameAsSQL(tb testing.TB, url string) {
	tb.Helper()
	for _, table := range change.Tables() {
		var columns, quoted []string // by name: another may be added just now
		for _, r := range pgtest.Text(tb, url, "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum", table) {
			columns, quoted = append(columns, r[0]), append(quoted, `"`+strings.ReplaceAll(r[0], `"`, `""`)+`"`)
		}
		var want []string
		for _, r := range pgtest.Text(tb, url+"&timezone=UTC&datestyle=ISO", "SELECT "+strings.Join(quoted, ", ")+" FROM "+table) {
			want = append(want, strings.Join(r, "|"))
		}
		sort.Strings(want)
		got := m.lines(table, columns)
		if len(got) != len(want) {
			tb.Fatalf("table %s: %d rows here, %d in Postgres", table, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				tb.Fatalf("table %s: row %d is\n%.300s\nin Postgres\n%.300s", table, i, got[i], want[i])
			}
		}
	}
}

// patience is how long a test waits for what happens by itself. It tells a hang
// from a busy machine and measures nothing.
const patience = 2 * time.Minute

// dropSlots drops the slots that a condition names, once the server has noticed that
// those who used them are gone.
func dropSlots(tb testing.TB, url, where string) {
	tb.Helper()
	eventually(tb, func() error {
		if n := pgtest.Text(tb, url, "SELECT count(*) FROM pg_replication_slots WHERE active AND "+where)[0][0]; n != "0" {
			return fmt.Errorf("%s slots with %s are active", n, where)
		}
		return nil
	})
	pgtest.Exec(tb, url, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE "+where)
}

// eventually polls until cond returns nil.
func eventually(tb testing.TB, cond func() error) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %v: %v", patience, err)
		}
		<-tick.C
	}
}
