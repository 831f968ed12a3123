package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// Write makes the tables hold what the edits want, as one transaction, and
// records only rows that really change: the writer of embedded mode. The
// changelog has no source from then on.
func (s *Store) Write(ctx context.Context, edits []change.Edit) (change.Written, error) {
	return s.edit(ctx, edits, time.Now())
}

// Preview returns what Write would do, and the edits without the rows and
// deletes that would change nothing.
func (s *Store) Preview(_ context.Context, edits []change.Edit) ([]change.Edit, change.Written, error) {
	p := planner{state: s.Snapshot().state, now: time.Now()}
	err := p.plan(edits)
	return p.edits, p.written, err
}

func (s *Store) edit(ctx context.Context, edits []change.Edit, now time.Time) (change.Written, error) {
	s.writer.Lock()
	defer s.writer.Unlock()
	if s.closed {
		return change.Written{}, change.ErrClosed
	}
	if err := s.settled(); err != nil {
		return change.Written{}, fmt.Errorf("write: %w", err)
	}
	if s.open != nil {
		return change.Written{}, errors.New("write: a source transaction is open; embedded writes and a Postgres source exclude each other")
	}
	p := planner{state: s.work, now: now, serial: s.serial()}
	if err := p.plan(edits); err != nil {
		return change.Written{}, err
	}
	if len(p.changes) == 0 {
		return p.written, ctx.Err()
	}
	g := s.staging()
	g.stage.Serial = p.serial
	g.stage.Source, g.stage.Copied, g.stage.LSN, g.stage.CommitEnd = change.Source{}, false, 0, 0
	err := g.stageAll(ctx, []change.Txn{{CommitTime: now, First: true, Final: true, Changes: p.changes}})
	if err == nil {
		err = g.commit()
	}
	if err != nil {
		s.fail()
		return change.Written{}, fmt.Errorf("write: %w", err)
	}
	return p.written, nil
}

// serial returns the last verra.id in use. Callers hold the writer's mutex.
func (s *Store) serial() int64 {
	if s.tail.Serial > 0 || s.work.Len(view.Verra) == 0 {
		return s.tail.Serial
	}
	var last int64 // rows of an earlier life with Postgres
	s.work.Scan(view.Verra, "", func(e view.Entry) bool {
		if n, err := strconv.ParseInt(e.Row.Value(e.Schema.Relation.Index("id")).Text, 10, 64); err == nil {
			last = max(last, n)
		}
		return true
	})
	return last
}

// planner turns edits into changes against a state.
type planner struct {
	state   *view.State
	now     time.Time
	serial  int64
	changes []change.Change
	written change.Written
	edits   []change.Edit   // what of the edits changes something
	planned map[string]bool // table and key of rows this plan changes
}

func (p *planner) plan(edits []change.Edit) error {
	p.planned = map[string]bool{}
	for _, e := range edits {
		rel := change.Standard(e.Table)
		if rel == nil {
			return fmt.Errorf("write: table %q is not one of carbond's", e.Table)
		}
		sh, err := view.NewSchema(rel, 0)
		if err != nil {
			return err
		}
		left := e
		left.Rows, left.Delete = nil, nil
		if len(e.Rows) > 0 {
			if left.Rows, err = p.upserts(sh, e); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		for _, k := range e.Delete {
			n := len(p.changes)
			if err := p.remove(sh, k); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if len(p.changes) > n {
				left.Delete = append(left.Delete, k)
			}
		}
		if len(left.Rows)+len(left.Delete) > 0 {
			p.edits = append(p.edits, left)
		}
	}
	return nil
}

func columns(rel *change.Relation, names []string) []change.Column {
	out := make([]change.Column, len(names))
	for i, n := range names {
		out[i].Name = n
		if j := rel.Index(n); j >= 0 {
			out[i] = rel.Columns[j]
		}
	}
	return out
}

func (p *planner) useOnce(sh *view.Schema, key string) error {
	k := sh.Relation.Name + "\x00" + key
	if p.planned[k] {
		return fmt.Errorf("%s: the row %q is given twice", sh.Relation.Name, key)
	}
	p.planned[k] = true
	return nil
}

// upserts plans the rows of e and returns those that change something.
func (p *planner) upserts(sh *view.Schema, e change.Edit) (changed []change.Row, err error) {
	rel := sh.Relation
	in, err := view.NewSchema(&change.Relation{Schema: rel.Schema, Name: rel.Name, Columns: columns(rel, e.Columns)}, 0)
	if err != nil {
		return nil, err
	}
	for _, r := range e.Rows {
		n := len(p.changes)
		if err := p.upsert(sh, in, r, &e); err != nil {
			return nil, err
		}
		if len(p.changes) > n {
			changed = append(changed, r)
		}
	}
	return changed, nil
}

func (p *planner) upsert(sh, in *view.Schema, r change.Row, e *change.Edit) error {
	if r.Len() != len(in.Relation.Columns) {
		return fmt.Errorf("%s: a row has %d values for %d columns", sh.Relation.Name, r.Len(), len(in.Relation.Columns))
	}
	key, err := in.Key(r)
	if err != nil {
		return err
	}
	for i, v := range r.All() {
		// Postgres takes neither; replies and the views' keys rely on it.
		if strings.IndexByte(v.Text, 0) >= 0 || !utf8.ValidString(v.Text) {
			return fmt.Errorf("%s: row %q: the value of column %q has a zero byte or is not UTF-8", sh.Relation.Name, key, in.Relation.Columns[i].Name)
		}
	}
	if err := p.useOnce(sh, key); err != nil {
		return err
	}
	old, had := p.state.Get(sh.Table, key)
	stored := func(c string) change.Value { return old.Row.Value(old.Schema.Relation.Index(c)) }
	if had && e.Merge != change.Replace {
		var b change.RowBuilder
		b.Reset(r.Len())
		for i, v := range r.All() {
			b.Value(e.Merge.Of(stored(in.Relation.Columns[i].Name), v))
		}
		r = b.Row()
	}
	if had && !differs(old, in, r, e.Stamp) {
		p.written.Unchanged++
		return nil
	}
	var b change.RowBuilder
	b.Reset(len(sh.Relation.Columns))
	for _, c := range sh.Relation.Columns {
		switch i := in.Relation.Index(c.Name); {
		case c.Name == e.Stamp:
			b.Text(Timestamp(p.now))
		case i >= 0:
			b.Value(r.Value(i))
		case had:
			b.Value(stored(c.Name))
		case c.Name == "id" && sh.Table == view.Verra:
			p.serial++
			b.Text(strconv.FormatInt(p.serial, 10))
		default:
			b.Null()
		}
	}
	if had {
		p.written.Updated++
		p.changes = append(p.changes, change.Change{Op: change.Update, Relation: sh.Relation, After: b.Row()})
		return nil
	}
	p.written.Inserted++
	p.changes = append(p.changes, change.Change{Op: change.Create, Relation: sh.Relation, After: b.Row()})
	return nil
}

func (p *planner) remove(sh *view.Schema, key change.Row) error {
	names := change.KeyColumns(sh.Relation.Name)
	in, err := view.NewSchema(&change.Relation{Schema: sh.Relation.Schema, Name: sh.Relation.Name, Columns: columns(sh.Relation, names)}, 0)
	if err != nil {
		return err
	}
	k, err := in.Key(key)
	if err != nil {
		return err
	}
	if err := p.useOnce(sh, k); err != nil {
		return err
	}
	if _, had := p.state.Get(sh.Table, k); !had {
		p.written.Unchanged++
		return nil
	}
	p.written.Deleted++
	var b change.RowBuilder
	b.Reset(len(sh.Relation.Columns))
	for _, c := range sh.Relation.Columns {
		if i := slices.Index(names, c.Name); i >= 0 {
			b.Value(key.Value(i))
		} else {
			b.Null()
		}
	}
	p.changes = append(p.changes, change.Change{Op: change.Delete, Relation: sh.Relation, Before: b.Row()})
	return nil
}

// differs reports whether a given column of r, other than stamp, has another
// value than the stored row.
func differs(old view.Entry, in *view.Schema, r change.Row, stamp string) bool {
	for i, v := range r.All() {
		c := in.Relation.Columns[i]
		if c.Name == stamp {
			continue
		}
		if !same(old.Row.Value(old.Schema.Relation.Index(c.Name)), v, c.Type) {
			return true
		}
	}
	return false
}

// same compares as Postgres would after reading both texts: 1.0 and 1 are one
// number.
func same(a, b change.Value, oid uint32) bool {
	if a == b {
		return true
	}
	if a.Kind != change.Text || b.Kind != change.Text || !slices.Contains([]uint32{change.OIDFloat8, change.OIDTimestamptz}, oid) {
		return false
	}
	if oid == change.OIDTimestamptz {
		x, ok1 := view.ReadInstant(a)
		y, ok2 := view.ReadInstant(b)
		return ok1 && ok2 && x == y
	}
	x, err1 := strconv.ParseFloat(a.Text, 64)
	y, err2 := strconv.ParseFloat(b.Text, 64)
	return err1 == nil && err2 == nil && x == y
}

// Timestamp returns a time in the form that Postgres gives a timestamptz under
// DateStyle ISO and TimeZone UTC.
func Timestamp(t time.Time) string {
	return t.UTC().Format("2006-01-02 15:04:05.999999") + "+00"
}

// Prune deletes the rows of finance (by timestamp) or news (by published_at)
// that are older than before, as one transaction. Rows without a time stay. The
// latest row of each ticker stays too, whatever its age.
func (s *Store) Prune(ctx context.Context, table string, before time.Time) (int, error) {
	keys, err := s.Snapshot().state.Older(table, before)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	w, err := s.Write(ctx, []change.Edit{{Table: table, Delete: keys}})
	return w.Deleted, err
}

// Rows returns the named columns of every stored row of a table, in key order,
// from one version of the state. A column that a row lacks is NULL.
func (s *Store) Rows(_ context.Context, table string, columns []string) ([]change.Row, error) {
	t, ok := view.TableOf(table)
	if !ok {
		return nil, fmt.Errorf("read: table %q is not one of carbond's", table)
	}
	st := s.Snapshot().state
	out := make([]change.Row, 0, st.Len(t))
	st.Scan(t, "", func(e view.Entry) bool {
		var b change.RowBuilder
		b.Reset(len(columns))
		for _, n := range columns {
			b.Value(e.Row.Value(e.Schema.Relation.Index(n)))
		}
		out = append(out, b.Row())
		return true
	})
	return out, nil
}
