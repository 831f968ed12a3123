package store

import (
	"fmt"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Topics lists the topics with their figures at the newest version.
func (s *Store) Topics() []change.Topic {
	now := s.Snapshot()
	out := make([]change.Topic, 0, len(now.tail.Topics)+now.plain.Len())
	for i, table := range change.Tables() {
		out = append(out, s.describeTopic(change.TopicName(table), table, &now.tail.Topics[i]))
	}
	now.plain.Scan(func(name string, p plainTopic) bool {
		if t, _ := topicAmong(name, now.plain); t == view.Plain {
			out = append(out, s.describeTopic(name, strings.TrimPrefix(name, "carbon."), &p.topicState))
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
	return s.describeTopic(name, table, &figures), true
}

func (s *Store) describeTopic(name, table string, t *topicState) change.Topic {
	h := s.History()
	out := change.Topic{Name: name, Table: table, First: min(s.Oldest(), h.After(t.Last)), Next: h.After(t.Last), Messages: t.Messages, Records: t.Records, Bytes: t.Bytes}
	if t.Time != 0 {
		out.Last = time.UnixMicro(t.Time).UTC()
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
