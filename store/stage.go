package store

import (
	"fmt"
	"slices"
	"strings"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// openTxn is the transaction that is being staged.
type openTxn struct {
	head  record.Txn
	snap  *change.Snapshot
	copy  *change.Copy
	began bool // its begin is in a block
	// viewed: a table of a view was changed.
	viewed bool
	// retracting: the last entry that was encoded is the end of a truncated row.
	retracting bool
	// held is the last entry. It is kept back so that the end of a transaction
	// always shares a block with a change.
	held  *record.Entry
	entry record.Entry // where held points
	stage commitState
	next  change.Offset // of the first change that is not spilled
	// seen are the keys that an initial copy has brought, for tables that were
	// not empty before it.
	seen [view.TableCount]map[string]struct{}
	// hidden are the rows that share their key with a newer one, see located.
	hidden [view.TableCount]map[string][]view.Entry
}

// txn stages one part of a transaction.
func (g *staging) txn(t *change.Txn) error {
	s := g.s
	if t.First {
		g.begin(t)
	}
	if s.open == nil {
		return fmt.Errorf("a part of transaction %d came without its beginning", t.XID)
	}
	for i := range t.Changes {
		if err := g.change(&t.Changes[i]); err != nil {
			return err
		}
		if g.bytes >= spillBytes {
			if err := g.spill(); err != nil {
				return err
			}
		}
	}
	if t.Final {
		return g.end(t)
	}
	return nil
}

func (g *staging) begin(t *change.Txn) {
	o := &openTxn{
		head:  record.Txn{XID: t.XID, CommitLSN: t.CommitLSN, CommitTime: t.CommitTime, Snapshot: t.Snapshot != nil, Previous: g.stage.CommitEnd},
		snap:  t.Snapshot,
		copy:  t.Copy,
		stage: *g.stage,
	}
	if t.Copy != nil {
		o.head.CommitLSN, o.head.Snapshot = g.stage.LSN, true
	}
	g.stage = &o.stage
	g.s.open = o
	if t.Copy != nil && t.Copy.Whole != "" {
		if tab, ok := view.TableOf(t.Copy.Whole); ok {
			o.seen[tab] = map[string]struct{}{}
		}
	}
	if t.Snapshot == nil {
		return
	}
	for tab := range o.seen {
		if t := view.Table(tab); g.s.work.Len(t) > 0 {
			o.seen[tab] = map[string]struct{}{}
		} else {
			g.s.work.Load(t)
		}
	}
}

func (g *staging) end(t *change.Txn) error {
	s, o := g.s, g.s.open
	if err := o.settled(); err != nil {
		return err
	}
	end := t.EndLSN
	if o.copy != nil {
		end = o.head.CommitLSN
	}
	if o.snap != nil || o.copy != nil {
		if err := g.endCopy(); err != nil {
			return err
		}
	}
	if o.snap != nil {
		o.stage.CopyLSN, o.stage.CopyAt = t.EndLSN, g.next()-1
	}
	if o.held != nil {
		g.encode(*o.held) // the end goes into the same block, however full it is
		s.enc.End(end, !o.viewed)
	}
	if t.EndLSN != 0 || o.snap != nil {
		o.stage.LSN, o.stage.CommitEnd = t.EndLSN, t.EndLSN
	}
	if !t.CommitTime.IsZero() {
		o.stage.CommitTime = t.CommitTime.UnixMicro()
	}
	s.open = nil
	if s.enc.Size() >= blockBytes {
		g.endBlock()
	}
	return nil
}

// endCopy removes the rows that a copy did not bring, and shows the tables that it
// filled.
func (g *staging) endCopy() error {
	o := g.s.open
	for tab, seen := range o.seen {
		if seen == nil && o.snap == nil {
			continue
		}
		if seen == nil {
			g.s.work.Loaded(view.Table(tab), g.next()-1)
			continue
		}
		if err := g.removeUnseen(view.Table(tab), seen); err != nil {
			return err
		}
	}
	if o.snap == nil {
		if o.copy.Topic != "" {
			g.s.topic(o.copy.Topic).Mark = o.copy.Mark
		}
		return nil
	}
	for topic, mark := range o.snap.Marks {
		g.s.topic(topic).Mark = mark
	}
	o.stage.Source, o.stage.Copied = o.snap.Source, true
	o.stage.Serial = 0 // the ids are the source's now
	return nil
}

// unseenBatch is how many rows are found before they are removed.
const unseenBatch = 4096

func (g *staging) removeUnseen(tab view.Table, seen map[string]struct{}) error {
	for from, more := "", true; more; {
		gone := make([]view.Entry, 0, unseenBatch)
		g.s.work.Scan(tab, from, func(e view.Entry) bool {
			if _, ok := seen[e.Key]; !ok {
				gone = append(gone, e)
			}
			from = e.Key
			return len(gone) < unseenBatch
		})
		more = len(gone) == unseenBatch
		for _, e := range gone {
			if err := g.remove(e, e.Schema, 0); err != nil {
				return err
			}
			if g.bytes >= spillBytes {
				if err := g.spill(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// change stages one change of the source: it completes it from the state,
// changes the state, and records the result.
func (g *staging) change(c *change.Change) error {
	sh, err := g.s.dict.of(c.Relation)
	if err != nil {
		return err
	}
	if sh.Table == view.Plain {
		g.plain(c, sh)
		return nil
	}
	switch c.Op {
	case change.Create, change.Read:
		return g.insert(c, sh)
	case change.Update:
		return g.update(c, sh)
	case change.Delete:
		return g.delete(c, sh)
	case change.Truncate:
		return g.truncate(sh, c.LSN)
	}
	return fmt.Errorf("unknown operation %q on %s", c.Op, c.Relation.Name)
}

func (g *staging) insert(c *change.Change, sh *view.Schema) error {
	key, err := sh.Key(c.After)
	if err != nil {
		return err
	}
	e := view.Entry{Key: key, Row: c.After, Schema: sh}
	seen := g.s.open.seen[sh.Table]
	if g.s.open.snap == nil && seen == nil {
		return g.arrive(e, c.Op, c.LSN)
	}
	old, had := g.s.work.Get(sh.Table, key)
	if _, twice := seen[key]; twice || had && seen == nil {
		return shared(sh, key)
	}
	if seen != nil {
		seen[strings.Clone(key)] = struct{}{} // it would keep the row
	}
	switch {
	case !had:
		return g.put(e, record.Entry{Op: c.Op, LSN: c.LSN})
	case old.Row == c.After && old.Schema == sh:
		return nil // as it was: a new copy records differences only
	}
	return g.put(e, record.Entry{Op: change.Update, Before: g.s.dict.convert(old, sh), LSN: c.LSN})
}

func (g *staging) delete(c *change.Change, sh *view.Schema) error {
	key, err := sh.Key(c.Before)
	if err != nil {
		return fmt.Errorf("DELETE: %w", err)
	}
	old, ok := g.find(sh, key, c.Before)
	if !ok {
		g.s.met.anomaly("delete_missing")
		return nil
	}
	return g.leave(old, sh, c.LSN)
}

func (g *staging) update(c *change.Change, sh *view.Schema) error {
	was := c.Before
	if was == "" {
		was = c.After
	}
	oldKey, err := sh.Key(was)
	if err != nil {
		return fmt.Errorf("UPDATE: %w", err)
	}
	old, had := g.find(sh, oldKey, was)
	oldRow := c.Before
	switch {
	case had:
		oldRow = g.s.dict.convert(old.Entry, sh)
		if c.Before != "" && whole(sh.Relation) { // the source's own word
			if oldRow, err = c.Before.Complete(sh.Relation, oldRow, sh.Relation); err != nil {
				return fmt.Errorf("%w: %w", change.ErrDiverged, err)
			}
		}
	case c.Before == "" && !identified(sh.Relation):
		// The key may have changed, and the row of the old one would stay.
		return fmt.Errorf("%w: UPDATE of %s: the replica identity does not carry the key, and the row is not there", change.ErrDiverged, sh.Relation.Name)
	default:
		g.s.met.anomaly("update_missing")
		if !whole(sh.Relation) {
			oldRow = "" // the key alone: its other columns are unknown, not NULL
		}
	}
	after, err := c.After.Complete(sh.Relation, oldRow, sh.Relation)
	if err != nil {
		return fmt.Errorf("%w: %w", change.ErrDiverged, err)
	}
	key, err := sh.Key(after)
	if err != nil {
		return err
	}
	e := view.Entry{Key: key, Row: after, Schema: sh}
	switch {
	case had && key == oldKey && old.hidden:
		g.s.open.hidden[sh.Table][key][old.at] = e
		return nil
	case had && key == oldKey:
		return g.put(e, record.Entry{Op: change.Update, Before: oldRow, LSN: c.LSN})
	case had:
		if err := g.leave(old, sh, c.LSN); err != nil {
			return err
		}
	}
	return g.arrive(e, change.Create, c.LSN)
}

// whole reports whether a row before a change comes with all its columns, as
// under REPLICA IDENTITY FULL.
func whole(rel *change.Relation) bool {
	return !slices.ContainsFunc(rel.Columns, func(c change.Column) bool { return !c.Key })
}

// identified reports whether the source sends the old key of a row with every
// change of it.
func identified(rel *change.Relation) bool {
	return !slices.ContainsFunc(change.KeyColumns(rel.Name), func(k string) bool { return !rel.Columns[rel.Index(k)].Key })
}

// truncate records the TRUNCATE and, behind it, the end of every row.
func (g *staging) truncate(sh *view.Schema, lsn change.LSN) (err error) {
	at := g.add(sh, record.Entry{Op: change.Truncate, LSN: lsn})
	g.s.work.Scan(sh.Table, "", func(e view.Entry) bool {
		g.add(e.Schema, record.Entry{Op: change.Retract, Before: e.Row, LSN: lsn})
		if g.bytes >= spillBytes {
			err = g.spill()
		}
		return err == nil
	})
	g.s.work.Clear(sh.Table, at)
	g.s.open.hidden[sh.Table] = nil
	return err
}

// hugeBytes is how long the rows of one entry may be together, if there is a choice.
const hugeBytes = 128 << 20

func (g *staging) put(e view.Entry, r record.Entry) error {
	r.After = e.Row
	if r.Op == change.Update && len(r.Before)+len(r.After) > hugeBytes {
		// Two rows near Postgres's limit are more than a block can have.
		g.add(e.Schema, record.Entry{Op: change.Delete, Before: r.Before, LSN: r.LSN})
		r.Op, r.Before = change.Create, ""
	}
	at := g.add(e.Schema, r)
	g.s.work.Put(e, at)
	return nil
}

func (g *staging) remove(old view.Entry, sh *view.Schema, lsn change.LSN) error {
	at := g.add(sh, record.Entry{Op: change.Delete, Before: g.s.dict.convert(old, sh), LSN: lsn})
	g.s.work.Remove(old.Schema.Table, old.Key, at)
	return nil
}

// add records an entry and returns its offset.
func (g *staging) add(sh *view.Schema, r record.Entry) change.Offset {
	o := g.s.open
	at := g.next()
	r.Relation = sh.Number
	if r.LSN == 0 {
		r.LSN = o.head.CommitLSN
	}
	if o.held != nil {
		g.write(*o.held)
	}
	o.entry = r
	o.held = &o.entry
	if r.Op != change.Retract { // consumers see the Truncate alone
		g.count(sh, r.Op, at, len(r.Before)+len(r.After))
	}
	return at
}

// write encodes an entry behind which others come.
func (g *staging) write(r record.Entry) {
	g.encode(r)
	if g.s.enc.Size() >= blockBytes {
		g.endBlock()
	}
}

func (g *staging) encode(r record.Entry) {
	o, enc := g.s.open, &g.s.enc
	if len(r.Before)+len(r.After) > hugeBytes {
		g.endBlock() // a block of its own
	}
	if !o.began {
		o.began = true
		enc.Begin(o.head)
	}
	at := g.first + change.Offset(enc.Count())
	g.stage.Checksum = record.Checksum(g.stage.Checksum, at, g.s.dict.byNumber[r.Relation].Relation, &o.head, &r)
	enc.Add(r)
	o.retracting = r.Op == change.Retract
}

// The state and the consumers of the changelog know a row by its key. In the
// source two rows may have one key for a moment: a deferrable primary key is
// looked at when the statement or the transaction ends, so that one UPDATE can
// swap the keys of two rows, and what comes first then lands on the key of a row
// that has not left it yet. That one is kept aside until it leaves, hidden behind
// the newer row: a swap is recorded as the end of one key, the other key's new
// row, and the beginning of the first. Who rebuilds a table by key has it right
// too, and each record holds the row before it. Rows that still share a key when
// the transaction ends are two to SQL and cannot be two here: that is refused.

// located is the row that a change speaks of.
type located struct {
	view.Entry
	hidden bool
	at     int // among the hidden rows of its key
}

// find returns the row with a key. Among several it is the one that fits best
// what the source says of the row before the change.
func (g *staging) find(sh *view.Schema, key string, was change.Row) (located, bool) {
	e, ok := g.s.work.Get(sh.Table, key)
	out := located{Entry: e}
	rest := g.s.open.hidden[sh.Table][key]
	if len(rest) == 0 {
		return out, ok
	}
	least := g.mismatches(e, sh, was)
	for i, h := range rest {
		if n := g.mismatches(h, sh, was); n < least {
			least, out = n, located{Entry: h, hidden: true, at: i}
		}
	}
	return out, true
}

// mismatches counts the columns of the replica identity in which a row is not as the
// source says.
func (g *staging) mismatches(e view.Entry, sh *view.Schema, was change.Row) (n int) {
	row := g.s.dict.convert(e, sh)
	for i, v := range was.All() {
		if sh.Relation.Columns[i].Key && v.Kind != change.Unchanged && v != row.Value(i) {
			n++
		}
	}
	return n
}

// leave takes a row away from its key. One that was hidden behind it appears.
func (g *staging) leave(old located, sh *view.Schema, lsn change.LSN) error {
	hidden := g.s.open.hidden[sh.Table]
	rest := hidden[old.Key]
	at := old.at
	if !old.hidden {
		if len(rest) == 0 {
			return g.remove(old.Entry, sh, lsn)
		}
		at = len(rest) - 1
		next := view.Entry{Key: old.Key, Row: g.s.dict.convert(rest[at], sh), Schema: sh}
		if err := g.put(next, record.Entry{Op: change.Update, Before: g.s.dict.convert(old.Entry, sh), LSN: lsn}); err != nil {
			return err
		}
	}
	if rest = append(rest[:at], rest[at+1:]...); len(rest) > 0 {
		hidden[old.Key] = rest
	} else {
		delete(hidden, old.Key)
	}
	return nil
}

// arrive puts a row under its key, in front of one that is there.
func (g *staging) arrive(e view.Entry, op change.Op, lsn change.LSN) error {
	sh := e.Schema
	old, taken := g.s.work.Get(sh.Table, e.Key)
	if !taken {
		return g.put(e, record.Entry{Op: op, LSN: lsn})
	}
	if exclusive(sh.Relation) {
		g.s.met.anomaly("create_existing")
	} else {
		hidden := &g.s.open.hidden[sh.Table]
		if *hidden == nil {
			*hidden = map[string][]view.Entry{}
		}
		(*hidden)[old.Key] = append((*hidden)[old.Key], old)
	}
	return g.put(e, record.Entry{Op: change.Update, Before: g.s.dict.convert(old, sh), LSN: lsn})
}

// settled reports rows that share a key at the end of the transaction.
func (o *openTxn) settled() error {
	for _, hidden := range o.hidden {
		for key, rows := range hidden {
			return shared(rows[0].Schema, key)
		}
	}
	return nil
}

// shared says that two rows have one key.
func shared(sh *view.Schema, key string) error {
	r := sh.Relation
	columns := strings.Join(change.KeyColumns(r.Name), ", ")
	return &change.UnfitError{
		Message: fmt.Sprintf("two rows of %s.%s have the same key (%s): %s", r.Schema, r.Name, columns, sh.KeyText(key)),
		Remedy:  fmt.Sprintf("delete one of them and keep it from coming again: ALTER TABLE %s.%s ADD PRIMARY KEY (%s)", r.Schema, r.Name, columns),
	}
}

// exclusive reports whether two rows of the source cannot have one key, not even
// for a moment: an index that identifies rows is never deferrable.
func exclusive(rel *change.Relation) bool {
	keys, some := change.KeyColumns(rel.Name), false
	for _, c := range rel.Columns {
		if c.Key && !slices.Contains(keys, c.Name) {
			return false
		}
		some = some || c.Key
	}
	return some
}
