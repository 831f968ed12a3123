package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// survey is what a session knows of the catalog: the look under which it reads
// the stream, and what later looks say.
type survey struct {
	// base held at the durable position at which the session began: whatever was
	// altered later is altered in the stream that comes. nil when nothing is
	// known, as during a copy. It does not change while the stream runs.
	base *catalog.Marks
	// columns are those of our tables where the receiver is, which alone uses it.
	columns map[string]catalog.Known

	mu sync.Mutex // guards all below
	// seen is the last look that was understood.
	seen *catalog.Marks
	// kept is a look that is made durable once the changelog has passed it.
	kept *catalog.Marks
	// truncates is the last TRUNCATE of each table that Tells.
	truncates map[string]note.Truncate
	// until is where the stream has brought all of a transaction whose TRUNCATE a
	// look waits for, by its number.
	until map[string]change.LSN
	early time.Time // since when something waits for the server's statistics
}

// statisticsDelay is after how long the server counts what a connection did that
// has said nothing since.
const statisticsDelay = 12 * time.Second

func (s *session) query(known *catalog.Marks) catalog.Query {
	return catalog.Query{Publication: s.opt.Publication, Schema: s.opt.Schema, Tables: s.opt.Viewed(), Version: s.srv.Version, Known: known}
}

// newSurvey begins with marks that hold for the durable position, and with the
// TRUNCATEs that are known from before it.
func newSurvey(base *catalog.Marks, truncates map[string]note.Truncate) *survey {
	v := &survey{base: base, seen: base, columns: map[string]catalog.Known{}, truncates: truncates, until: map[string]change.LSN{}}
	for name, t := range base.Tables {
		if t.Columns != nil {
			v.columns[name] = catalog.KnownFrom(t.Columns)
		}
	}
	return v
}

// compare looks whether something happened to the tables since the marks that
// hold for the durable position. What the stream may explain is left to the looks
// beside it.
func (s *session) compare(ctx context.Context, conn *pgx.Conn, n note.Note, pos change.Position) (plan, error) {
	base := n.Marks
	if base == nil || base.Copy != pos.Source.Copy {
		base = catalog.Parse(pos.Source.Catalog)
	}
	now, err := catalog.Look(ctx, conn, s.query(base))
	if err != nil {
		return 0, err
	}
	if base != nil {
		base = s.withLater(base, now)
	}
	s.survey = newSurvey(cmp.Or(base, now), n.Truncates)
	for _, f := range catalog.Compare(base, now, s.opt.Schema) {
		if f.Truncated != "" || f.Early {
			continue
		}
		if err := s.report(s.verdict(f), f.Table); err != nil {
			if s.opt.OnGap == server.GapResnapshot && errors.Is(err, pgerr.ErrGap) {
				s.log.Info("the tables have to be copied again", "reason", err)
				return planCopy, nil
			}
			return planStream, err
		}
	}
	return planStream, nil
}

// neverCopied lists the tables of the views that the copy of all did not bring: this
// database did not have them then. They are copied beside the stream.
func (s *session) neverCopied(pos change.Position) map[string]bool {
	if !pos.Copied || pos.Source.Embedded() {
		return nil
	}
	out := map[string]bool{}
	for _, name := range s.opt.Viewed() {
		if !s.holds(pos, name) {
			out[name] = true
		}
	}
	return out
}

// holds reports whether a copy has brought a table of the views.
func (s *session) holds(pos change.Position, name string) bool {
	copied := catalog.Parse(pos.Source.Catalog)
	if copied != nil && copied.Tables[name] != nil {
		return true
	}
	later := change.TableOf(name).Added
	m, _ := readMark(s.sink.Marks()[change.TopicName(name)])
	return copied == nil && !later || m.Done && m.Copy == pos.Source.Copy && (m.Viewed || !later)
}

// held lists the tables that came later and that a copy has brought: what is wrong with
// them is no reason to go without.
func (s *session) held(pos change.Position) map[string]bool {
	out := map[string]bool{}
	for _, name := range change.Tables() {
		out[name] = change.TableOf(name).Added && pos.Copied && !pos.Source.Embedded() && s.holds(pos, name)
	}
	return out
}

// withLater adds the tables to a look of before that were copied beside the stream
// since, and takes away those that were not yet.
func (s *session) withLater(base, now *catalog.Marks) *catalog.Marks {
	out := *base
	out.Tables = maps.Clone(base.Tables)
	marks := s.sink.Marks()
	for _, name := range change.Tables() {
		m, ok := readMark(marks[change.TopicName(name)])
		switch t := now.Tables[name]; {
		case s.later[name], !s.opt.Keeps(s.opt.Schema, name):
			delete(out.Tables, name)
		case out.Tables[name] == nil && ok && t != nil && t.OID == m.OID:
			out.Tables[name] = t
		}
	}
	return &out
}

// verdict puts a finding into an operator's words.
func (s *session) verdict(f catalog.Finding) *pgerr.Error {
	if f.Lost {
		return pgerr.New(pgerr.KindPublicationChange, pgerr.Resnapshot, nil, "%s since the copy was made: changes may be missing", f.Text)
	}
	return pgerr.New(pgerr.KindTableChange, pgerr.Resnapshot, nil, "%s: rows that were not written since keep their old values here", f.Text)
}

// report makes a verdict durable, and an error where the session has to end.
func (s *session) report(e *pgerr.Error, tables ...string) error {
	if err := s.r.recordVerdict(e, tables...); err != nil {
		return err
	}
	if e.Kind != pgerr.KindTableChange || s.opt.OnGap == server.GapResnapshot {
		return e
	}
	s.log.Warn("rows are wrong here, and the stream does not tell which", "error", e)
	s.st.setTrouble(e)
	return nil
}

// checkCatalog surveys the catalog while the stream runs, and reports whether nothing is
// missing. What it finds ends the session. During a copy there is nothing to compare with, and
// what was durable before it says nothing.
func (s *session) checkCatalog(ctx context.Context, conn *pgx.Conn) (fine bool, err error) {
	v := s.survey
	if v == nil {
		return false, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now, err := catalog.Look(ctx, conn, s.query(v.seen))
	if err != nil {
		return false, err
	}
	waits, flaw := s.weigh(v, now)
	if flaw != nil {
		if s.flaw.CompareAndSwap(nil, &flaw) {
			s.wire.Interrupt()
		}
		return false, nil
	}
	if waits {
		return false, nil
	}
	v.seen, v.early = now, time.Time{}
	clear(v.until)
	s.warnRenamed(now)
	return s.flaw.Load() == nil, s.keepMarks(v, now)
}

// weigh judges what a look says beside the last one. What waits for the stream,
// or for the server's statistics, is not decided yet.
func (s *session) weigh(v *survey, now *catalog.Marks) (waits bool, flaw error) {
	for _, f := range catalog.Compare(v.seen, now, s.opt.Schema) {
		switch {
		case f.Truncated != "":
			// Another TRUNCATE may hide behind the one of the table.
			if f.Truncated == v.truncates[f.Table].XID {
				continue
			}
			if v.until[f.Truncated] == 0 {
				v.until[f.Truncated] = now.LSN
			}
			if s.st.snapshot().ReceivedLSN < v.until[f.Truncated] {
				waits = true
				continue
			}
		case f.Early:
			if v.early.IsZero() {
				v.early = s.st.now()
			}
			if s.st.now().Sub(v.early) < statisticsDelay {
				waits = true
				continue
			}
		}
		if flaw == nil {
			flaw = s.report(s.verdict(f), f.Table)
		}
	}
	for _, name := range change.Tables() {
		if t := now.Tables[name]; flaw == nil && t != nil {
			flaw = s.checkPartitions(t)
		}
	}
	return waits, flaw
}

// checkPartitions says that a partition does not bring its changes as it should. What it
// did not bring is missing, so mending it is not enough.
func (s *session) checkPartitions(t *catalog.Table) error {
	text, sql := t.Unfit()
	if text == "" {
		return nil
	}
	return s.report(pgerr.New(pgerr.KindPublicationChange, sql+"; then "+pgerr.Resnapshot, nil, "%s: changes may be missing", text))
}

// warnRenamed warns of tables that bear another name now. Their changes still come.
func (s *session) warnRenamed(now *catalog.Marks) {
	var out []string
	for _, name := range change.Tables() {
		if t := now.Tables[name]; t != nil && t.Called != s.opt.Schema+"."+name {
			out = append(out, fmt.Sprintf("table %s.%s is called %s now: its changes are kept as before, but queries and the next start need its name back", s.opt.Schema, name, t.Called))
		}
	}
	s.st.setWarning("names", strings.Join(out, "; "))
}

// keepMarks makes looks durable, each once the changelog has passed it: what is
// durable must not say that something was there before the rows that it brought.
func (s *session) keepMarks(v *survey, now *catalog.Marks) error {
	pos := s.sink.Position()
	if v.kept != nil && pos.LSN < v.kept.LSN {
		return nil
	}
	last := v.kept
	v.kept = now
	if last == nil {
		return nil
	}
	marks := last.Lasting()
	marks.Copy = pos.Source.Copy
	return s.r.saveNote(func(n *note.Note) {
		if n.Marks == nil || !n.Marks.Same(marks) {
			n.Marks = marks
		}
	})
}

// truncates notes that a TRUNCATE of a table is in the stream, before it can be
// durable in the changelog: it explains why the table or its partitions have other
// files, if nothing has written their rows of the catalog since. The last one is
// enough, as a look that did not wait for it shows it.
func (s *session) truncates(name string, xid uint32, commit change.LSN) error {
	v := s.survey
	if v == nil || v.base.Tables[name] == nil || !v.base.Tables[name].Tells() {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.truncates[name].Commit >= commit {
		return nil
	}
	next := map[string]note.Truncate{}
	maps.Copy(next, v.truncates)
	next[name] = note.Truncate{XID: strconv.FormatUint(uint64(xid), 10), Commit: commit}
	v.truncates = next
	return s.r.saveNote(func(n *note.Note) { n.Truncates = next })
}

// describe makes a description in the stream one of ours: under the name that we
// give the table, with the numbers of its columns. It returns nil for a table that
// is not ours, whatever its name. While the server's history is compared, the
// stream is at a place before the one that the survey knows, and nothing that it
// says is used but that it was said.
func (s *receiver) describe(ctx context.Context, oid uint32, sent *change.Relation) (*change.Relation, error) {
	v := s.session.survey
	if v == nil { // nothing is known of the catalog
		if !s.opt.Keeps(sent.Schema, sent.Name) {
			return s.session.describePlain(ctx, oid, sent)
		}
		return s.session.intern(ctx, sent)
	}
	name := v.base.Name(oid)
	if name == "" && s.session.later[sent.Name] && s.opt.Keeps(sent.Schema, sent.Name) {
		if _, ok := s.session.covered[change.TopicName(sent.Name)]; !ok {
			return nil, nil // its copy will show what comes until then
		}
		name = sent.Name
	}
	switch {
	case name == "" && s.opt.Keeps(sent.Schema, sent.Name):
		return nil, s.session.verdict(catalog.Finding{Lost: true, Text: fmt.Sprintf("table %s.%s was replaced by another table of its name", sent.Schema, sent.Name)})
	case name == "":
		return s.session.describePlain(ctx, oid, sent)
	case s.session.proof != nil:
		return &change.Relation{Schema: s.opt.Schema, Name: name, Columns: sent.Columns}, nil
	}
	columns, err := s.columns(ctx, v, name, oid, sent)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, s.session.verdict(catalog.Finding{Lost: true, Text: fmt.Sprintf("table %s.%s was dropped or replaced", s.opt.Schema, name)})
	}
	if errors.Is(err, catalog.ErrAmbiguous) {
		return nil, pgerr.New(pgerr.KindDiverged, pgerr.Resnapshot, err, "nobody can tell which column of %s.%s is which", s.opt.Schema, name)
	}
	if err != nil {
		return nil, s.opt.Classify(err)
	}
	return s.session.intern(ctx, &change.Relation{Schema: s.opt.Schema, Name: name, Columns: columns})
}

// unseenTries is how often a look is taken again, each 10 ms later.
const unseenTries = 500

// columns returns the columns of a description with their numbers. The server sends a
// transaction a moment before others can see what it did, and longer where it waits for
// a standby: a look that does not see it may lack its columns, and is taken again. Not
// for ever, since the standby may be carbond.
func (s *receiver) columns(ctx context.Context, v *survey, name string, oid uint32, sent *change.Relation) ([]change.Column, error) {
	for tries := 0; ; tries++ {
		var now []catalog.Column
		var snap snapshot
		err := s.session.ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			var text string
			err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&text)
			if err == nil {
				snap, err = parseSnapshot(text, "0/0")
			}
			if err == nil {
				now, err = catalog.Columns(ctx, conn, s.session.query(nil), oid)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		known, ok := v.columns[name]
		if !ok {
			known = catalog.KnownFrom(now)
		}
		columns, known, err := known.Resolve(sent.Columns, now, s.ev.XID)
		if err == nil {
			v.columns[name] = known
			return columns, nil
		}
		if snap.sees(s.ev.XID) || tries == unseenTries {
			return nil, err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
		if err := s.wait(ctx); err != nil {
			return nil, err
		}
	}
}
