package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tidwall/btree"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// Tables that no view reads have no state: their changes are kept as the source
// sends them. Their topics' figures lie in the log one by one, so that a commit
// writes those that it touches, however many there are.

// plainTopic is what the log says of the topic of such a table, as JSON.
type plainTopic struct {
	topicState
	Mark string `json:"mark,omitempty"`
}

// plainTopics are the topics of one commit, by name. Nobody changes them.
type plainTopics = btree.Map[string, plainTopic]

// topic returns what is staged of a topic. That of a table of a view has a mark
// alone; its figures are in commitState.
func (s *Store) topic(name string) *plainTopic {
	p := s.pending[name]
	if p == nil {
		t, _ := s.plain.Get(name)
		p = &t
		s.pending[name] = p
	}
	return p
}

// count counts a change of a table.
func (g *staging) count(sh *view.Schema, op change.Op, at change.Offset, bytes int) {
	o := g.s.open
	var t *topicState
	if sh.Table != view.Plain {
		o.viewed, t = true, &o.stage.Topics[sh.Table]
	} else {
		o.stage.Plain += uint64(bytes)
		t = &g.s.topic(sh.Topic).topicState
	}
	t.count(op, at, bytes, o.head.CommitTime)
}

func (s *Store) encodeTopics() map[string][]byte {
	if len(s.pending) == 0 {
		return nil
	}
	out := make(map[string][]byte, len(s.pending))
	for name, p := range s.pending {
		b, err := json.Marshal(p)
		if err != nil {
			panic(fmt.Sprintf("store: encode topic: %v", err)) // plain data cannot fail
		}
		out[name] = b
	}
	return out
}

// keepTopics takes what was staged as committed.
func (s *Store) keepTopics() {
	if len(s.pending) == 0 {
		return
	}
	next := s.plain.Copy()
	for name, p := range s.pending {
		next.Set(name, *p)
	}
	s.plain = next
	clear(s.pending)
}

// loadTopics takes the topics as the disk has them.
func (s *Store) loadTopics() error {
	s.plain = new(plainTopics)
	for name, b := range s.changelog.Topics() {
		p, err := decodeTopic(b)
		if err != nil {
			return fmt.Errorf("read topic %s: %w", name, err)
		}
		s.plain.Set(name, p)
	}
	return nil
}

func decodeTopic(b []byte) (p plainTopic, err error) {
	if len(b) > 0 {
		err = json.Unmarshal(b, &p)
	}
	return p, err
}

// plain records a change of a table without a state. A change of the key is a
// Delete and a Create.
func (g *staging) plain(c *change.Change, sh *view.Schema) {
	r := record.Entry{Op: c.Op, Before: c.Before, After: c.After, LSN: c.LSN}
	if c.Op == change.Update && c.Before != "" {
		var moved bool
		r.After, moved = settle(sh.Relation, c.Before, c.After)
		if moved || len(r.Before)+len(r.After) > hugeBytes {
			g.add(sh, record.Entry{Op: change.Delete, Before: r.Before, LSN: r.LSN})
			r.Op, r.Before = change.Create, ""
		}
	}
	g.add(sh, r)
}

// settle gives an updated row the unchanged long values that came with the row
// before, as under REPLICA IDENTITY FULL, and reports whether its key is another.
func settle(rel *change.Relation, before, after change.Row) (out change.Row, moved bool) {
	var b change.RowBuilder
	b.Reset(len(rel.Columns))
	old := make([]change.Value, 0, len(rel.Columns))
	for _, v := range before.All() {
		old = append(old, v)
	}
	for i, v := range after.All() {
		was := old[i]
		if v.Kind == change.Unchanged && was.Kind == change.Text {
			v = was
		}
		moved = moved || rel.Columns[i].Key && v.Kind != change.Unchanged && v != was
		b.Value(v)
	}
	return b.Row(), moved
}

// Marks returns what Copy.Mark and Snapshot.Marks last said of each topic.
func (s *Store) Marks() map[string]string {
	out := map[string]string{}
	s.Snapshot().plain.Scan(func(name string, p plainTopic) bool {
		if p.Mark != "" {
			out[name] = p.Mark
		}
		return true
	})
	return out
}

// isTopic reports whether there is a topic of this name.
func (s *Store) isTopic(name string) bool {
	_, ok := topicAmong(name, s.Snapshot().plain)
	return ok
}

// topicAmong returns which table of the views a topic is of, or view.Plain.
func topicAmong(name string, plain *plainTopics) (view.Table, bool) {
	if i := slices.IndexFunc(change.Tables(), func(t string) bool { return change.TopicName(t) == name }); i >= 0 {
		return view.Table(i), true
	}
	_, ok := plain.Get(name)
	return view.Plain, ok
}

// topic returns the figures of a topic in a version. Where a table of the views came
// later, another of its name may have been kept without a view: the topic goes on.
func (s *Snapshot) topic(name string) (topicState, bool) {
	t, ok := topicAmong(name, s.plain)
	p, _ := s.plain.Get(name)
	if t != view.Plain {
		p.add(&s.tail.Topics[t])
	}
	return p.topicState, ok
}

// Floor returns the oldest offset from which on the records of tables without a view
// are kept.
func (s *Store) Floor() change.Offset { return s.changelog.Floor() }

// strips reports whether a topic has records that go below the floor: those of a table
// without a view, which may have had the name of one of a view that came later.
func (s *Store) strips(topic string) bool {
	if _, viewed := topicAmong(topic, new(plainTopics)); !viewed {
		return true
	}
	p, _ := s.Snapshot().plain.Get(topic)
	return p.Records > 0
}

// oldest returns the oldest offset from which on all of a topic is kept.
func (s *Store) oldest(topic string) change.Offset {
	if s.strips(topic) {
		return s.Floor()
	}
	return s.Oldest()
}

// starts returns the tails at which the segments start that hold all of a topic,
// oldest first.
func (s *Store) starts(topic string) ([]changelog.Tail, error) {
	oldest := s.oldest(topic) // first: the segments that are there then go on being there, or later ones
	starts, err := s.changelog.Starts()
	return slices.DeleteFunc(starts, func(t changelog.Tail) bool { return t.Next < oldest }), err
}

// strip takes the records of tables without a view out of the oldest segments while
// there are more than their bound, and returns how many bytes are left.
func (s *Store) strip(r Retention, applied, held change.Offset) (int64, error) {
	segs := s.changelog.Segments()
	plain, err := s.plainBytes(segs)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, n := range plain {
		sum += n
	}
	if sum <= r.TablesBytes {
		return sum, nil
	}
	relations := newDictionary() // the callback must not ask the log: who waits for its segments has it
	for number, w := range s.changelog.Dictionary() {
		if err := relations.load(number, w); err != nil {
			return 0, err
		}
	}
	gone := func(number uint32) bool {
		sh, ok := relations.byNumber[number]
		return ok && sh.Table == view.Plain
	}
	for i, g := range segs {
		if sum <= r.TablesBytes || !g.Sealed || g.Last > applied || r.holds(g, held, size(segs)) {
			break
		}
		if plain[i] == 0 {
			continue
		}
		if err := s.changelog.Strip(g.First, func(b changelog.Block) ([]byte, error) { return record.Strip(b.Data, gone) }); err != nil {
			return sum, err
		}
		sum -= plain[i]
		s.met.stripped()
		s.log.Info("took the records of tables without a view out of an old changelog segment", "segment", g.Path, "first_offset", uint64(g.First), "last_offset", uint64(g.Last))
	}
	return sum, nil
}

// plainBytes returns how many bytes of each segment are records of tables without a
// view: its size, by their share of what was recorded. Inside a large transaction the
// share is that of all of it.
func (s *Store) plainBytes(segs []changelog.Segment) ([]int64, error) {
	starts, err := s.changelog.Starts()
	if err != nil {
		return nil, err
	}
	out, until, behind, floor := make([]int64, len(segs)), len(segs), *s.Snapshot().tail, s.Floor()
	for i := min(len(segs), len(starts)) - 1; i >= 0; i-- {
		if i > 0 && s.History().After(starts[i].Visible) != starts[i].Next {
			continue
		}
		at, err := decodeCommitState(starts[i].State)
		if err != nil {
			return nil, err
		}
		plain, all := behind.Plain-at.Plain, behind.Plain-at.Plain
		for t := range at.Topics {
			all += behind.Topics[t].Bytes - at.Topics[t].Bytes
		}
		for ; until > i; until-- {
			if g := segs[until-1]; g.First >= floor && plain > 0 {
				out[until-1] = int64(float64(g.Bytes) * float64(plain) / float64(all))
			}
		}
		behind = at
	}
	return out, nil
}

// topicAtStart returns the figures of a topic at the start of a segment, and
// whether its messages were counted then.
func (s *Store) topicAtStart(start changelog.Tail, name string) (figures topicState, counted bool, err error) {
	st, err := decodeCommitState(start.State)
	if err != nil {
		return figures, false, err
	}
	counted = true
	if t, ok := topicAmong(name, new(plainTopics)); ok {
		figures, counted = st.Topics[t], st.Counted
		if !change.TableOf(change.Tables()[t]).Added {
			return figures, counted, nil
		}
	}
	type place struct {
		at    change.Offset
		topic string
	}
	key := place{start.Next, name}
	if f, ok := s.counted.Load(key); ok {
		f := f.(topicState)
		figures.add(&f)
		return figures, counted, nil
	}
	b, err := s.changelog.TopicAtStart(start.Next, name)
	if err != nil {
		return figures, false, err
	}
	p, err := decodeTopic(b)
	if err == nil && s.History().After(start.Visible) == start.Next { // else it may be cut off, and another begin there
		s.counted.Store(key, p.topicState)
	}
	figures.add(&p.topicState)
	return figures, counted, err
}
