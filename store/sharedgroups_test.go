package store_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"carbond/store"
	"carbond/store/change"
)

// table is change.SharedGroups in memory, which can be away.
type table struct {
	mu   sync.Mutex
	all  map[string]string
	away error
	// before runs once, in front of the next Swap: another node that is faster.
	before func()
	// read runs once, when All has read: who is here is faster than what is made of it.
	read func()
}

func (t *table) Get(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all[name], t.away
}

func (t *table) Swap(name, old, text string) (bool, error) {
	if f := t.before; f != nil {
		t.before = nil
		f()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.away != nil || t.all[name] != old {
		return false, t.away
	}
	if t.all[name] = text; text == "" {
		delete(t.all, name)
	}
	return true, nil
}

func (t *table) All(context.Context) (map[string]string, error) {
	t.mu.Lock()
	all, err := maps.Clone(t.all), t.away
	t.mu.Unlock()
	if f := t.read; f != nil {
		t.read = nil
		f()
	}
	return all, err
}

// TestSharedGroups: two nodes have one group; who joins at the other node fences the one
// here, whose commits are refused; a commit at either is the place at both.
func TestSharedGroups(t *testing.T) {
	shared := &table{all: map[string]string{}}
	nodes := make([]*store.Store, 2)
	for i := range nodes {
		nodes[i] = open(t, t.TempDir(), store.Options{NoSync: true, Groups: shared})
		defer nodes[i].Close()
		fill(t, nodes[i], 100)
	}
	a, b := nodes[0], nodes[1]
	topic := change.TopicName(change.Verra)
	commit := func(s *store.Store, m change.Member, at change.Offset) error {
		return s.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Topic: topic, Member: m.ID, Generation: m.Generation, Offset: at})
	}
	first, err := a.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := commit(a, first, 10); err != nil {
		t.Fatal(err)
	}
	second, err := b.Join("desk", "two")
	if err != nil || second.Generation <= first.Generation {
		t.Fatalf("generation %d behind %d, %v", second.Generation, first.Generation, err)
	}
	if at := b.Committed("desk", topic); at != 10 {
		t.Errorf("the other node begins behind %d", at)
	}
	if err := commit(b, second, 20); err != nil {
		t.Error(err)
	}
	if err := commit(a, first, 30); !errors.Is(err, change.ErrStaleGeneration) {
		t.Errorf("a commit of the one that was replaced: %v", err)
	}
	select {
	case <-first.Fenced:
	default:
		t.Error("it was not fenced")
	}

	third, err := a.JoinAlone("desk", "three")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.SyncGroups(t.Context()), b.SyncGroups(t.Context())); err != nil {
		t.Fatal(err)
	}
	select {
	case <-second.Fenced:
	default:
		t.Error("Sync does not fence")
	}
	select {
	case <-third.Fenced:
		t.Error("Sync fences the newest")
	default:
	}
	if at := b.Committed("desk", topic); at != 20 {
		t.Errorf("%d after Sync", at)
	}

	// Another node is faster: the commit begins again from what that one has made.
	shared.before = func() {
		if _, err := b.Join("desk", "four"); err != nil {
			t.Error(err)
		}
	}
	if err := commit(a, third, 40); !errors.Is(err, change.ErrStaleGeneration) {
		t.Errorf("a commit that was overtaken by a join: %v", err)
	}
	if at := b.Committed("desk", topic); at != 20 {
		t.Errorf("committed %d", at)
	}

	shared.away = errors.New("no route")
	if err := commit(a, third, 50); !errors.Is(err, change.ErrGroupsAway) {
		t.Errorf("away: %v", err)
	}
	if _, err := b.Join("other", "one"); !errors.Is(err, change.ErrGroupsAway) {
		t.Errorf("away: %v", err)
	}
	if err := b.SyncGroups(t.Context()); !errors.Is(err, change.ErrGroupsAway) {
		t.Errorf("away: %v", err)
	}
	if len(b.Groups()) != 1 {
		t.Error("groups cannot be looked at while they are away")
	}
	shared.away = nil
	if err := a.SyncGroups(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteGroup("desk"); err != nil {
		t.Fatal(err)
	}
	if err := b.SyncGroups(t.Context()); err != nil || len(shared.all) != 0 {
		t.Errorf("deleted: %v, %v", err, shared.all)
	}
	again, err := a.Join("desk", "one")
	if err != nil || again.Generation <= third.Generation {
		t.Errorf("generation %d after %d, %v", again.Generation, third.Generation, err)
	}
}

// TestSyncBesideJoin: what Sync has read may be old when it is taken over. It must not fence a
// member that has joined meanwhile, nor take a commit back.
func TestSyncBesideJoin(t *testing.T) {
	shared := &table{all: map[string]string{}}
	s := open(t, t.TempDir(), store.Options{NoSync: true, Groups: shared})
	defer s.Close()
	fill(t, s, 10)
	topic := change.TopicName(change.Verra)
	if err := errors.Join(s.SyncGroups(t.Context()), s.ResetGroup(t.Context(), "desk", []string{topic}, 2)); err != nil {
		t.Fatal(err)
	}
	var m change.Member
	joined := make(chan error, 1)
	shared.read = func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			var err error
			if m, err = s.Join("desk", "one"); err == nil {
				err = s.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Topic: topic, Member: "one", Generation: m.Generation, Offset: 7})
			}
			joined <- err
		}()
		select {
		case <-done:
		case <-time.After(200 * time.Millisecond): // it waits for Sync
		}
	}
	if err := errors.Join(s.SyncGroups(t.Context()), <-joined); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Fenced:
		t.Error("Sync has fenced a member that is newer than what it read")
	default:
	}
	if at := s.Committed("desk", topic); at != 7 {
		t.Errorf("committed %d, and Sync says %d", 7, at)
	}
}

// TestSharedGroupsBegin: a directory that joins a fleet without groups brings its own; one that
// joins a fleet with groups does not.
func TestSharedGroupsBegin(t *testing.T) {
	dir, topic := t.TempDir(), change.TopicName(change.Verra)
	s := open(t, dir, store.Options{NoSync: true})
	fill(t, s, 10)
	if err := s.ResetGroup(t.Context(), "desk", []string{topic}, 5); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, have := range []map[string]string{{}, {"other": `{"generation":7,"topics":{}}`}} {
		shared := &table{all: have}
		brings := len(have) == 0
		s := open(t, dir, store.Options{NoSync: true, Groups: shared})
		if err := errors.Join(s.SyncGroups(t.Context()), s.SyncGroups(t.Context())); err != nil {
			t.Fatal(err)
		}
		if at := s.Committed("desk", topic); (at == 5) != brings || (shared.all["desk"] != "") != brings {
			t.Errorf("brings %v: committed %d, %v", brings, at, shared.all)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
