package store

import (
	"fmt"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Topics lists the topics with their figures at the newest version.
func (s *Store) Topics() []change.Topic {
	tail := s.Snapshot().tail
	oldest, h := s.changelog.Oldest(), s.History()
	out := make([]change.Topic, 0, len(tail.Topics))
	for i, name := range change.Tables() {
		t := tail.Topics[i]
		p := change.Topic{Name: change.TopicName(name), Table: name, First: min(oldest, h.After(t.Last)), Next: h.After(t.Last), Messages: t.Messages, Records: t.Records, Bytes: t.Bytes}
		if t.Time != 0 {
			p.Last = time.UnixMicro(t.Time).UTC()
		}
		out = append(out, p)
	}
	return out
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
	g := gatherer{reader: r}
	for _, b := range blocks {
		g.at = b.First
		if err := record.Decode(b.Data, &g); err != nil {
			return nil, fmt.Errorf("read offset %d: %w", g.at, err)
		}
		g.open = len(g.out)
	}
	if n := len(blocks); n > 0 {
		r.next = blocks[n-1].Last() + 1
	}
	return g.out, nil
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

// gatherer turns a block's entries into records.
type gatherer struct {
	reader *reader
	out    []change.Record
	at     change.Offset
	open   int // index of the first record whose transaction's end may still come in this block
}

// Change implements record.Visitor.
func (g *gatherer) Change(t record.Txn, order uint64, e record.Entry) error {
	at := g.at
	g.at++
	if at < g.reader.next {
		return nil
	}
	sh, err := g.reader.schema(e.Relation)
	if err != nil {
		return err
	}
	g.out = append(g.out, change.Record{
		Change: change.Change{Op: e.Op, Relation: sh.Relation, Before: e.Before, After: e.After, LSN: e.LSN},
		Offset: at, XID: t.XID, CommitLSN: t.CommitLSN, CommitTime: t.CommitTime, Snapshot: t.Snapshot, Order: order, Previous: t.Previous,
	})
	return nil
}

// End implements record.Visitor.
func (g *gatherer) End(_ record.Txn, end change.LSN) error {
	for i := g.open; i < len(g.out); i++ {
		g.out[i].EndLSN = end
	}
	if n := len(g.out); n > g.open {
		g.out[n-1].Last = true
	}
	g.open = len(g.out)
	return nil
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
