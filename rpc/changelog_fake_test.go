package rpc_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/store/change"
)

// fakeLog is a changelog in memory, by the simplest rules that are right.
type fakeLog struct {
	piece int // records that one Read returns at most

	mu     sync.Mutex // guards what follows
	recs   []change.Record
	txns   int
	oldest change.Offset
	plain  string        // a table that no view reads
	floor  change.Offset // before which its records are gone
	held   bool
	ch     chan struct{}
	groups map[string]*fakeGroup
	names  []string
	// furthest is how far each reader got, in the order of their making.
	furthest []change.Offset

	history change.History // "here", from 1, by default

	backup func(ctx context.Context, w io.Writer) error
}

type fakeGroup struct {
	generation uint64
	member     string
	at         map[string]change.Offset
	active     string
	fenced     chan struct{}
}

func newFakeLog(piece int) *fakeLog {
	return &fakeLog{piece: piece, oldest: 1, ch: make(chan struct{}), groups: map[string]*fakeGroup{}}
}

// time is the commit time of the nth transaction.
func (l *fakeLog) time(n int) time.Time {
	return time.Date(2024, 5, 1, 0, 0, n, 500_000_000, time.UTC)
}

// add commits a transaction that creates a row in each table.
func (l *fakeLog) add(tables ...string) {
	ops := make([]string, len(tables))
	for i, t := range tables {
		ops[i] = t + ":c"
	}
	l.addOps(ops...)
}

// addOps commits a transaction of "table:op".
func (l *fakeLog) addOps(ops ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.txns++
	for i, s := range ops {
		table, op, _ := strings.Cut(s, ":")
		rel := change.Standard(table)
		r := change.Record{
			Change: change.Change{Op: change.Op(op[0]), Relation: rel, LSN: change.LSN(1000*l.txns - 1)},
			Offset: change.Offset(len(l.recs) + 1), XID: uint32(l.txns), CommitLSN: change.LSN(1000 * l.txns),
			CommitTime: l.time(l.txns), Order: uint64(i + 1), Last: i == len(ops)-1,
		}
		if row := fakeRow(rel, len(l.recs)+1); r.Op == change.Create {
			r.After = row
		} else if r.Op != change.Truncate {
			r.Before = row
		}
		l.recs = append(l.recs, r)
	}
	l.wake()
}

func fakeRow(rel *change.Relation, n int) change.Row {
	var b change.RowBuilder
	b.Reset(len(rel.Columns))
	for i := range rel.Columns {
		b.Text(fmt.Sprint(n*100 + i))
	}
	return b.Row()
}

func (l *fakeLog) wake() {
	if !l.held {
		close(l.ch)
		l.ch = make(chan struct{})
	}
}

// hold keeps what is added from waking readers, and from being read, until
// release.
func (l *fakeLog) hold() { l.mu.Lock(); l.held = true; l.mu.Unlock() }

func (l *fakeLog) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.wake()
}

// drop removes everything before an offset.
func (l *fakeLog) drop(oldest change.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.oldest = oldest
}

// committed sets a place.
func (l *fakeLog) committed(group, topic string, at change.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.group(group).at[topic] = at
}

func (l *fakeLog) group(name string) *fakeGroup {
	g := l.groups[name]
	if g == nil {
		g = &fakeGroup{at: map[string]change.Offset{}}
		l.groups[name], l.names = g, append(l.names, name)
	}
	return g
}

func (l *fakeLog) History() change.History {
	if l.history.ID != "" {
		return l.history
	}
	return change.History{ID: "here", First: 1}
}

func (l *fakeLog) Gone(topic string) (oldest, last change.Offset, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.recs {
		if r := &l.recs[i]; r.Offset < l.begins(topic) && r.Relation.Topic() == topic {
			last = r.Offset
		}
	}
	return l.begins(topic), last, nil
}

// begins is where a topic begins. Callers hold mu.
func (l *fakeLog) begins(topic string) change.Offset {
	if l.plain != "" && topic == change.TopicName(l.plain) {
		return max(l.oldest, l.floor)
	}
	return l.oldest
}

func (l *fakeLog) Floor() change.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.oldest, l.floor)
}

// strip has no records of a table before an offset any more.
func (l *fakeLog) strip(table string, before change.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plain, l.floor = table, before
}

func (l *fakeLog) Topics() []change.Topic {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []change.Topic
	for _, table := range change.Tables() {
		t := change.Topic{Name: change.TopicName(table), Table: table, First: l.begins(change.TopicName(table)), Next: 1, Plain: table == l.plain}
		for i := range l.recs {
			if r := &l.recs[i]; r.Relation.Name == table {
				t.Next, t.Last = r.Offset+1, r.CommitTime
				t.Records++
				t.Bytes += uint64(len(r.Before) + len(r.After))
			}
		}
		out = append(out, t)
	}
	return out
}

func (l *fakeLog) Oldest() change.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldest
}

func (l *fakeLog) Position() change.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return change.Position{Offset: change.Offset(len(l.recs)), Source: change.Source{SystemID: "1", Database: "market"}}
}

func (l *fakeLog) Changed() (<-chan struct{}, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ch, true
}

type fakeReader struct {
	l    *fakeLog
	next change.Offset
	n    int // in furthest
}

func (l *fakeLog) NewReader(from change.Offset) change.RecordReader {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.furthest = append(l.furthest, from)
	return &fakeReader{l, max(from, 1), len(l.furthest) - 1}
}

func (l *fakeLog) NewProjectReader(string, change.Offset) change.ProjectReader {
	panic("histories are tried with a store, in rpc/web")
}

func (r *fakeReader) Next() change.Offset { return r.next }

func (r *fakeReader) Read(int) ([]change.Record, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if r.next < r.l.oldest {
		return nil, &change.CompactedError{Wanted: r.next, Oldest: r.l.oldest}
	}
	var out []change.Record
	if r.l.held {
		return nil, nil
	}
	for len(out) < r.l.piece && int(r.next) <= len(r.l.recs) {
		rec := r.l.recs[r.next-1]
		if rec.Relation.Name == r.l.plain && rec.Offset < r.l.floor {
			rec.Change = change.Change{Op: change.Removed, Relation: &change.Relation{Plain: true}}
		}
		out = append(out, rec)
		r.next++
	}
	r.l.furthest[r.n] = r.next
	return out, nil
}

func (l *fakeLog) FirstAfter(_ context.Context, t time.Time) (change.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.recs {
		if l.recs[i].CommitTime.After(t) {
			if l.recs[i].Offset < l.oldest {
				return 0, &change.CompactedError{Oldest: l.oldest}
			}
			return change.Offset(i), nil
		}
	}
	return change.Offset(len(l.recs)), nil
}

func (l *fakeLog) Join(group, member string) (change.Member, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if group == "" || member == "" {
		return change.Member{}, change.ErrGroupName
	}
	g := l.group(group)
	if g.active == member {
		return change.Member{}, change.ErrMemberActive
	}
	if g.active != "" {
		close(g.fenced)
	}
	g.generation++
	g.member = member
	g.active, g.fenced = member, make(chan struct{})
	mine := g.fenced
	return change.Member{Generation: g.generation, Fenced: mine, Leave: func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if g.fenced == mine {
			g.active = ""
		}
	}}, nil
}

func (l *fakeLog) Committed(group, topic string) change.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.group(group).at[topic]
}

func (l *fakeLog) CommitOffset(_ context.Context, c change.GroupCommit) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[c.Group]
	switch {
	case g == nil:
		return change.ErrGroupUnknown
	case g.generation != c.Generation, c.Member != "" && c.Member != g.member:
		return change.ErrStaleGeneration
	case c.Offset < g.at[c.Topic]:
		return change.ErrCommitBackwards
	case int(c.Offset) > len(l.recs):
		return change.ErrFuture
	}
	g.at[c.Topic] = c.Offset
	return nil
}

func (l *fakeLog) Groups() []change.Group {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []change.Group
	for _, name := range l.names {
		g := l.groups[name]
		o := change.Group{Name: name, Generation: g.generation, Active: g.active}
		for _, table := range change.Tables() {
			if at, ok := g.at[change.TopicName(table)]; ok {
				o.Topics = append(o.Topics, change.GroupTopic{Topic: change.TopicName(table), Committed: at, Lag: uint64(len(l.recs)) - uint64(at), LagTime: 1500 * time.Millisecond})
			}
		}
		out = append(out, o)
	}
	return out
}

func (l *fakeLog) ResetGroup(_ context.Context, group string, topics []string, at change.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.group(group)
	if g.active != "" {
		return change.ErrGroupBusy
	}
	for _, t := range topics {
		g.at[t] = at
	}
	return nil
}

func (l *fakeLog) DeleteGroup(group string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.groups[group] == nil {
		return change.ErrGroupUnknown
	}
	delete(l.groups, group)
	for i, n := range l.names {
		if n == group {
			l.names = append(l.names[:i], l.names[i+1:]...)
			break
		}
	}
	return nil
}

func (l *fakeLog) Backup(ctx context.Context, w io.Writer, _ string) error {
	if l.backup == nil {
		return nil
	}
	return l.backup(ctx, w)
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
