package replicate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/server"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// tableMark is what the changelog keeps of the copy of one table beside its topic: that
// copy is of this table, as this member of the publication, since that copy of
// all tables, with those masks. When one of these is another, changes may be missing, or
// rows be shown otherwise.
type tableMark struct {
	OID   uint32 `json:"oid"`
	Place string `json:"place"` // as in catalog.Plain
	// Viewed says that it is a table of the views: of one that came later, a table of the same
	// name may have been kept without a view.
	Viewed bool     `json:"viewed,omitempty"`
	Copy   string   `json:"copy"` // as in change.Source
	Masks  string   `json:"masks,omitempty"`
	Done   bool     `json:"done,omitempty"`
	After  []string `json:"after,omitempty"` // key of the last row that was copied
	Rows   uint64   `json:"rows,omitempty"`  // copied so far
	Seen   string   `json:"seen,omitempty"`  // snapshot of a table that was read in one piece, as parseSnapshot reads it
	End    string   `json:"end,omitempty"`   // LSN before which everything that it shows was committed
}

func (m tableMark) text() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("replicate: encode mark: %v", err)) // plain data cannot fail
	}
	return string(b)
}

// readMark reads a mark; one that cannot be read is none, and the table is copied again.
func readMark(text string) (m tableMark, ok bool) {
	return m, text != "" && json.Unmarshal([]byte(text), &m) == nil
}

// coveredBy returns what copies in one piece have shown that the stream may bring
// again: the changelog stands where it stood before the piece, and changes of a table
// that was not copied yet left no trace in it.
func coveredBy(sink Sink) map[string]snapshot {
	covered, pos := map[string]snapshot{}, sink.Position()
	for topic, text := range sink.Marks() {
		m, ok := readMark(text)
		if !ok || m.Seen == "" || m.Copy != pos.Source.Copy {
			continue
		}
		if snap, err := parseSnapshot(m.Seen, m.End); err == nil && snap.end > pos.LSN {
			covered[topic] = snap
		}
	}
	return covered
}

// plainTables are the tables without a view whose topics are kept, by number.
type plainTables map[uint32]*catalog.Plain

// lookPlain looks for the tables without a view, and has the receiver ask again
// for those that it did not know.
func (s *session) lookPlain(ctx context.Context, conn *pgx.Conn) (plainTables, error) {
	fit, findings, err := schema.ReadPlain(ctx, conn, s.opt)
	if err != nil {
		return nil, err
	}
	warn := ""
	for _, f := range findings {
		if !f.OK {
			warn = f.Detail
			break
		}
	}
	s.st.setWarning("further tables", warn)
	next := plainTables{}
	for _, p := range fit {
		next[p.OID] = p
	}
	s.plain.Store(&next)
	return next, nil
}

// sorted lists the tables in the order of their names.
func (t plainTables) sorted() []*catalog.Plain {
	out := make([]*catalog.Plain, 0, len(t))
	for _, p := range t {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *catalog.Plain) int {
		return slices.Compare([]string{a.Schema, a.Name}, []string{b.Schema, b.Name})
	})
	return out
}

// describePlain makes a description in the stream one of a table without a view;
// nil for one that is not kept. While the server's history is compared nothing of
// such tables counts.
func (s *session) describePlain(ctx context.Context, oid uint32, sent *change.Relation) (*change.Relation, error) {
	if !s.opt.KeepsPlain(sent.Schema, sent.Name) || s.proof != nil {
		return nil, nil
	}
	var p *catalog.Plain
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := s.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		known := s.plain.Load()
		if known == nil || (*known)[oid] == nil {
			now, err := s.lookPlain(ctx, conn)
			if err != nil {
				return err
			}
			known = &now
		}
		if p = (*known)[oid]; p == nil {
			return nil
		}
		if now, err := schema.PlainByOID(ctx, conn, s.opt, oid); err != nil {
			return err
		} else if now != nil { // else it was dropped since
			p = now
		}
		return nil
	})
	if err != nil || p == nil {
		return nil, s.opt.Classify(err)
	}
	rel := &change.Relation{Schema: sent.Schema, Name: sent.Name, Columns: slices.Clone(sent.Columns), Plain: true}
	key := p.Key()
	if len(key) == 0 && !s.copied(p) {
		return nil, nil // its copy will show what comes until then, and nobody could tell the two apart
	}
	for i := range rel.Columns {
		rel.Columns[i].Key = slices.Contains(key, rel.Columns[i].Name)
	}
	return s.intern(ctx, rel)
}

// copied reports whether a table has been copied, or its rows are on their way into the
// changelog.
func (s *session) copied(p *catalog.Plain) bool {
	if _, ok := s.covered[p.Topic()]; ok {
		return true
	}
	m, ok := readMark(s.sink.Marks()[p.Topic()])
	return ok && m.Done
}

// copyPlain copies the tables without a view inside the snapshot of a copy of
// all, and notes them as copied. A topic that has records already gets a TRUNCATE
// in front: what was missed meanwhile nobody knows.
func (c *copier) copyPlain(ctx context.Context, tables []*catalog.Plain, id string) error {
	before := c.session.sink.Marks()
	for _, p := range tables {
		rel, err := c.session.intern(ctx, p.Relation())
		if err != nil {
			return err
		}
		if before[p.Topic()] != "" {
			c.txn.Changes = append(c.txn.Changes, change.Change{Op: change.Truncate, Relation: rel, LSN: c.txn.CommitLSN})
		}
		rows := c.rows
		if err := c.read(ctx, rel, selectPlain(p)); err != nil {
			return fmt.Errorf("copy table %s.%s: %w", p.Schema, p.Name, err)
		}
		c.txn.Snapshot.Marks[p.Topic()] = tableMark{OID: p.OID, Place: p.Place, Copy: id, Masks: c.opt.MaskRules().Text(p.Schema, p.Name), Done: true, Rows: c.rows - rows}.text()
	}
	return nil
}

// selectPlain is the SQL that reads all rows of a table.
func selectPlain(p *catalog.Plain) string {
	return selectSQL(p.Columns, p.Schema, p.Name, p.Kind == "p")
}

func identsOf(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = server.Ident(n)
	}
	return out
}
