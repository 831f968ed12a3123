package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/keyfilter"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Topics lists the topics with their figures at the newest version.
func (s *Store) Topics() []change.Topic {
	now := s.Snapshot()
	out := make([]change.Topic, 0, len(now.tail.Topics)+now.plain.Len())
	for _, table := range change.Tables() {
		name := change.TopicName(table)
		figures, _ := now.topic(name)
		out = append(out, s.describeTopic(name, table, &figures, s.strips(name)))
	}
	now.plain.Scan(func(name string, p plainTopic) bool {
		if t, _ := topicAmong(name, now.plain); t == view.Plain {
			out = append(out, s.describeTopic(name, strings.TrimPrefix(name, "carbon."), &p.topicState, true))
		}
		return true
	})
	return out
}

// Topic returns a topic by name. It costs the same with any number of topics.
func (s *Store) Topic(name string) (change.Topic, bool) {
	now := s.Snapshot()
	t, ok := topicAmong(name, now.plain)
	if !ok {
		return change.Topic{}, false
	}
	table := strings.TrimPrefix(name, "carbon.")
	if t != view.Plain {
		table = change.Tables()[t]
	}
	figures, _ := now.topic(name)
	return s.describeTopic(name, table, &figures, s.strips(name)), true
}

func (s *Store) describeTopic(name, table string, t *topicState, plain bool) change.Topic {
	next, begins := s.History().After(t.Last), &s.reach[0]
	if plain {
		begins = &s.reach[1]
	}
	out := change.Topic{Name: name, Table: table, First: min(s.oldest(name), next), Next: next, Messages: t.Messages, Records: t.Records, Bytes: t.Bytes, Plain: plain}
	if t.Time != 0 {
		out.Last = time.UnixMicro(t.Time).UTC()
	}
	if r := begins.Load(); r != nil && out.First < out.Next {
		out.Since = r.time
	}
	return out
}

// reach is the oldest record that the log keeps.
type reach struct {
	at   change.Offset
	time time.Time // of its commit
}

// lookBack finds out since when the log has all, where it begins at another place now.
func (s *Store) lookBack() {
	for i, at := range []change.Offset{s.Oldest(), s.Floor()} {
		if r := s.reach[i].Load(); r != nil && r.at == at {
			continue
		}
		if recs, err := s.newReader(at).Read(1); err == nil && len(recs) > 0 {
			s.reach[i].Store(&reach{at, recs[0].CommitTime})
		}
	}
}

// Oldest returns the oldest offset that can be read.
func (s *Store) Oldest() change.Offset { return s.changelog.Oldest() }

// reader reads changes from the log: see change.RecordReader.
type reader struct {
	s       *Store
	next    change.Offset // offset of the next record to return
	schemas map[uint32]*view.Schema
}

// NewReader returns a reader that begins at offset from, 1 being the first.
func (s *Store) NewReader(from change.Offset) change.RecordReader { return s.newReader(from) }

func (s *Store) newReader(from change.Offset) *reader {
	return &reader{s: s, next: max(from, 1), schemas: map[uint32]*view.Schema{}}
}

// Next implements change.RecordReader.
func (r *reader) Next() change.Offset { return r.next }

// Read implements change.RecordReader.
func (r *reader) Read(maxBytes int) ([]change.Record, error) {
	blocks, err := r.s.read(r.next, maxBytes)
	if err != nil {
		return nil, err
	}
	var out []change.Record
	for _, b := range blocks {
		if out, err = r.records(out, b); err != nil {
			return nil, err
		}
	}
	if n := len(blocks); n > 0 {
		r.next = blocks[n-1].Last() + 1
	}
	return out, nil
}

// records appends the records of a block that the reader has not passed.
func (r *reader) records(out []change.Record, b changelog.Block) ([]change.Record, error) {
	open := len(out) // the first record whose transaction's end may still come in this block
	for it, err := range record.All(b.Data, b.First) {
		switch {
		case err != nil:
			return nil, fmt.Errorf("read offset %d: %w", it.Offset, err)
		case it.Ends:
			for i := open; i < len(out); i++ {
				out[i].EndLSN = it.End
			}
			if n := len(out); n > open {
				out[n-1].Last = true
			}
			open = len(out)
		case it.Offset >= r.next:
			sh, err := r.schema(it.Entry.Relation)
			if err != nil {
				return nil, fmt.Errorf("read offset %d: %w", it.Offset, err)
			}
			t, e := it.Txn, &it.Entry
			out = append(out, change.Record{
				Change: change.Change{Op: e.Op, Relation: sh.Relation, Before: e.Before, After: e.After, LSN: e.LSN},
				Offset: it.Offset, XID: t.XID, CommitLSN: t.CommitLSN, CommitTime: t.CommitTime, Snapshot: t.Snapshot, Order: it.Order, Previous: t.Previous,
			})
		}
	}
	return out, nil
}

// read returns blocks of the log as far as the views go. The log is ahead of them
// for a moment, and who saw that could neither commit it nor find it in a view.
func (s *Store) read(from change.Offset, maxBytes int) ([]changelog.Block, error) {
	end := s.Position().Offset
	blocks, err := s.changelog.Read(from, maxBytes)
	n := 0
	for n < len(blocks) && blocks[n].First <= end {
		n++
	}
	return blocks[:n], err
}

func (r *reader) schema(number uint32) (*view.Schema, error) {
	if sh, ok := r.schemas[number]; ok {
		return sh, nil
	}
	d := newDictionary()
	for n, w := range r.s.changelog.Dictionary() {
		if err := d.load(n, w); err != nil {
			return nil, err
		}
	}
	r.schemas = d.byNumber
	sh, ok := r.schemas[number]
	if !ok {
		return nil, fmt.Errorf("relation %d is not in the dictionary", number)
	}
	return sh, nil
}

// projectsOf tells add the projects that a change is about: those of its own row before
// and after, or those that a row of Carbonmark or of the supplies by vintage names. The key filters and the reading of a
// history have to agree on it.
func projectsOf(rel *change.Relation, before, after change.Row, add func(id string)) {
	if rel.Plain || rel.Name != change.Verra && rel.Name != change.Carbonmark && rel.Name != change.Vintages {
		return
	}
	at := rel.Index("project_id")
	for _, row := range []change.Row{before, after} {
		if row != "" {
			add(row.Value(at).Text)
		}
	}
}

// projectsIn tells add the projects of the records of a block.
func projectsIn(b changelog.Block, schema func(uint32) (*view.Schema, error), add func(id string)) error {
	for it, err := range record.Borrow(b.Data, b.First) {
		if err != nil {
			return fmt.Errorf("read offset %d: %w", it.Offset, err)
		}
		if it.Ends {
			continue
		}
		sh, err := schema(it.Entry.Relation)
		if err != nil {
			return fmt.Errorf("read offset %d: %w", it.Offset, err)
		}
		projectsOf(sh.Relation, it.Entry.Before, it.Entry.After, add)
	}
	return nil
}

// projectReader passes over what the key filters say has nothing of a project.
type projectReader struct {
	*reader
	id       string
	end      change.Offset // of what was visible when it began
	segments []changelog.Segment
	filter   *keyfilter.Filter // of the segment where it stands, nil for none
	tried    change.Offset     // first offset of the segment that filter was looked for
	spent    int
}

// NewProjectReader returns a reader of the changes of one project, and of the other
// rows that name it, up to what is visible now.
func (s *Store) NewProjectReader(id string, from change.Offset) change.ProjectReader {
	end := s.Position().Offset
	return &projectReader{reader: s.newReader(from), id: id, end: end, segments: s.changelog.Segments()}
}

// Spent implements change.ProjectReader.
func (r *projectReader) Spent() int { return r.spent }

// Read implements change.ProjectReader.
func (r *projectReader) Read(maxBytes int) ([]change.Record, error) {
	var out []change.Record
	for stop := r.spent + maxBytes; r.spent < stop && r.next <= r.end; {
		piece, aimed := r.aim(stop)
		if !aimed || r.next > r.end {
			continue
		}
		blocks, err := r.s.read(r.next, piece)
		if err != nil {
			return nil, err
		}
		if len(blocks) == 0 {
			r.next = r.end + 1 // a hole alone is left
		}
		for _, b := range blocks {
			recs, err := r.records(nil, b)
			if err != nil {
				return nil, err
			}
			for i := range recs {
				if aboutProject(&recs[i], r.id) {
					out = append(out, recs[i])
				}
			}
			r.next = b.Last() + 1
			r.spent += len(b.Data)
		}
	}
	return out, nil
}

// aim goes on to the next place that may have a change of the project, and says how much
// to read there at once; false when it spent all that it may on filters.
func (r *projectReader) aim(stop int) (piece int, aimed bool) {
	for r.spent < stop && r.next <= r.end {
		i := sort.Search(len(r.segments), func(i int) bool { return r.segments[i].First > r.next }) - 1
		if i < 0 || !r.segments[i].Sealed || r.segments[i].Last > r.end {
			return keyfilter.SpanBytes, true
		}
		if r.tried != r.segments[i].First {
			r.tried, r.filter = r.segments[i].First, r.s.openFilter(r.segments[i])
			if r.filter != nil {
				r.spent += r.filter.Bytes
			}
		}
		if r.filter == nil {
			return keyfilter.SpanBytes, true
		}
		if at, ok := r.filter.Next(r.id, r.next); ok {
			r.next = at
			return 1, true // block by block: what is behind the span is asked again
		}
		r.next = r.segments[i+1].First
	}
	return 0, false
}

// openFilter reads the key filter of a segment; nil when there is none that can be
// trusted, and a damaged one is removed, to be made again.
func (s *Store) openFilter(g changelog.Segment) *keyfilter.Filter {
	path := keyfilter.Path(s.changelog.Dir(), g.First)
	f, err := keyfilter.Read(s.changelog.Dir(), g.First)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && f.Last != g.Last {
		err = fmt.Errorf("%s: %w: it ends at offset %d, the segment at %d", path, keyfilter.ErrDamaged, f.Last, g.Last)
	}
	if err == nil {
		return f
	}
	s.log.Warn("cannot use the key filter of a changelog segment; all of it is read until there is a new one", "error", err)
	if errors.Is(err, keyfilter.ErrDamaged) && os.Remove(path) == nil {
		s.filtered.Store(0)
	}
	return nil
}

// aboutProject reports whether a record is about a project. Consumers see a TRUNCATE
// alone, here the ends of the rows say more.
func aboutProject(r *change.Record, id string) (about bool) {
	if r.Op == change.Truncate {
		return false
	}
	projectsOf(r.Relation, r.Before, r.After, func(of string) { about = about || of == id })
	return about
}
