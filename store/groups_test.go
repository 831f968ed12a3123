package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// TestGroups compares lag and committed offsets with a count over the log, for
// random commits, resets and reopens over several segments.
func TestGroups(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 4))
	ctx := context.Background()
	dir := t.TempDir()
	opt := store.Options{NoSync: true, SegmentBytes: 8 << 10}
	s := open(t, dir, opt)
	defer func() { s.Close() }()
	src := storetest.NewSource(sd)
	topic := change.TopicName(change.News)
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	committed := change.Offset(0)
	for range 120 {
		for range 1 + rng.IntN(5) {
			mustApply(t, s, src.Next())
		}
		switch rng.IntN(6) {
		case 0, 1, 2:
			next := committed + change.Offset(rng.IntN(int(s.Position().Offset-committed)+1))
			if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: topic, Offset: next}); err != nil {
				t.Fatal(err)
			}
			committed = next
		case 3:
			m.Leave()
			to := change.Offset(rng.IntN(int(s.Position().Offset) + 1))
			if err := s.ResetGroup(ctx, "desk", []string{topic}, to); err != nil {
				t.Fatal(err)
			}
			committed = to
			if m, err = s.Join("desk", "one"); err != nil {
				t.Fatal(err)
			}
		case 4:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, opt)
			if m, err = s.Join("desk", "one"); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Committed("desk", topic); got != committed {
			t.Fatalf("committed %d, want %d", got, committed)
		}
		var lag uint64
		for _, g := range s.Groups() {
			for _, p := range g.Topics {
				lag = p.Lag
			}
		}
		if want := behind(t, s, topic, committed); lag != want && committed > 0 {
			t.Fatalf("lag %d behind %d, want %d", lag, committed, want)
		}
	}
}

func behind(t *testing.T, s *store.Store, topic string, off change.Offset) (n uint64) {
	t.Helper()
	r := s.NewReader(off + 1)
	for {
		recs, err := r.Read(1 << 16)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return n
		}
		for _, rec := range recs {
			if rec.Op != change.Retract && change.TopicName(rec.Relation.Name) == topic {
				n++
			}
		}
	}
}

// TestFencing is the contract between the members of a group.
func TestFencing(t *testing.T) {
	ctx := context.Background()
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	mustApply(t, s, storetest.NewSource(1).Next(), storetest.NewSource(2).Next())
	topic := change.TopicName(change.Verra)
	one, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Join("desk", "one"); !errors.Is(err, change.ErrMemberActive) {
		t.Errorf("the same member twice: %v", err)
	}
	if err := s.ResetGroup(ctx, "desk", []string{topic}, 0); !errors.Is(err, change.ErrGroupBusy) {
		t.Errorf("reset of a busy group: %v", err)
	}
	two, err := s.Join("desk", "two")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-one.Fenced:
	default:
		t.Error("the first member was not told")
	}
	if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: one.Generation, Member: one.ID, Topic: topic, Offset: 0}); !errors.Is(err, change.ErrStaleGeneration) {
		t.Errorf("commit of the first member: %v", err)
	}
	if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: two.Generation, Member: two.ID, Topic: topic, Offset: 1 << 40}); !errors.Is(err, change.ErrFuture) {
		t.Errorf("commit of the future: %v", err)
	}
	if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: two.Generation, Member: two.ID, Topic: "carbon.public.users", Offset: 0}); !errors.Is(err, change.ErrTopicUnknown) {
		t.Errorf("commit of an unknown topic: %v", err)
	}
	one.Leave() // of one who was replaced: the other stays
	if err := s.DeleteGroup("desk"); !errors.Is(err, change.ErrGroupBusy) {
		t.Errorf("delete of a busy group: %v", err)
	}
	for name, c := range map[string]struct {
		member string
		want   error
	}{"somebody else": {"one", change.ErrStaleGeneration}, "a client that names none": {"", nil}, "the member": {"two", nil}} {
		if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: two.Generation, Member: c.member, Topic: topic}); !errors.Is(err, c.want) {
			t.Errorf("commit by %s: %v", name, err)
		}
	}
	two.Leave()
	if err := s.DeleteGroup("desk"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteGroup("desk"); !errors.Is(err, change.ErrGroupUnknown) {
		t.Errorf("delete of no group: %v", err)
	}
	for _, bad := range []string{"", "a\nb", string(make([]byte, 300))} {
		if _, err := s.Join(bad, "m"); !errors.Is(err, change.ErrGroupName) {
			t.Errorf("group %q: %v", bad, err)
		}
	}
}

// A generation is never given out twice, whatever becomes of the group or of the
// file, so that a consumer of an earlier one cannot commit into the newest.
func TestGenerations(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	defer func() { s.Close() }()
	again := func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, store.Options{NoSync: true})
	}
	var last uint64
	for i, between := range []func(){
		func() {},
		func() {
			if err := s.DeleteGroup("desk"); err != nil {
				t.Fatal(err)
			}
		},
		again,
		func() {
			if err := s.DeleteGroup("desk"); err != nil {
				t.Fatal(err)
			}
			again()
		},
		func() {
			if err := s.DeleteGroup("desk"); err != nil {
				t.Fatal(err)
			}
			if err := s.ResetGroup(ctx, "desk", []string{change.TopicName(change.News)}, 0); err != nil {
				t.Fatal(err)
			}
		},
	} {
		between()
		for range 3 {
			m, err := s.Join("desk", "one")
			if err != nil {
				t.Fatal(err)
			}
			if m.Generation <= last {
				t.Fatalf("round %d: generation %d after %d", i, m.Generation, last)
			}
			if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: last, Member: "one", Topic: change.TopicName(change.News)}); !errors.Is(err, change.ErrStaleGeneration) {
				t.Fatalf("round %d: commit of generation %d: %v", i, last, err)
			}
			last = m.Generation
			m.Leave()
		}
	}
}

// Reading the groups waits for no commit, as when the disk stands still in it.
func TestGroupsBesideACommit(t *testing.T) {
	inside, goOn := make(chan struct{}), make(chan struct{})
	var stall atomic.Bool
	s := open(t, t.TempDir(), store.Options{NoSync: true, Crash: func(point string) {
		if point == "groups.commit" && stall.Load() {
			close(inside)
			<-goOn
		}
	}})
	defer s.Close()
	fill(t, s, 10)
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	stall.Store(true)
	done := make(chan error)
	go func() {
		done <- s.CommitOffset(context.Background(), change.GroupCommit{Group: "desk", Generation: m.Generation, Topic: change.TopicName(change.Verra), Offset: 5})
	}()
	<-inside
	if g := s.Groups(); len(g) != 1 || g[0].Active != "one" || s.Committed("desk", change.TopicName(change.Verra)) != 0 {
		t.Errorf("groups %+v", g)
	}
	stall.Store(false)
	close(goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if at := s.Committed("desk", change.TopicName(change.Verra)); at != 5 {
		t.Errorf("committed %d", at)
	}
}

// TestRetention drops old segments only behind the checkpoint, holds them for a
// lagging group up to the cap, and tells a reader that was passed.
func TestRetention(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	src := storetest.NewSource(5)
	s := open(t, dir, store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer s.Close()
	topic := change.TopicName(change.News)
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		mustApply(t, s, src.Next())
	}
	if err := s.CommitOffset(ctx, change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: topic, Offset: 1}); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name   string
		policy store.Retention
		drops  bool
	}{
		{"no limit", store.Retention{}, false},
		{"held by a group", store.Retention{Bytes: 1, Hold: []string{"desk"}}, false},
		{"held up to a cap", store.Retention{Bytes: 1, Hold: []string{"desk"}, HoldBytes: 1}, true},
	}
	for _, st := range steps {
		before := s.Oldest()
		s.SetRetention(st.policy)
		if err := s.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if dropped := s.Oldest() > before; dropped != st.drops {
			t.Fatalf("%s: oldest %d, was %d", st.name, s.Oldest(), before)
		}
		recs, err := s.NewReader(s.Oldest()).Read(1)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range s.Topics() {
			if kept := topic.First < topic.Next; topic.Since.IsZero() == kept || kept && !topic.Since.Equal(recs[0].CommitTime) {
				t.Errorf("%s: %s is there since %v, and the oldest record is of %v", st.name, topic.Name, topic.Since, recs[0].CommitTime)
			}
		}
	}
	var gone *change.CompactedError
	if _, err := s.NewReader(1).Read(100); !errors.As(err, &gone) || gone.Oldest != s.Oldest() {
		t.Fatalf("read of a dropped offset: %v", err)
	}
	if _, err := s.AsOf(ctx, 1); !errors.As(err, &gone) {
		t.Fatalf("views of a dropped offset: %v", err)
	}
	if d := src.Model.Diff(s.Snapshot()); d != "" {
		t.Fatal(d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer again.Close()
	if d := src.Model.Diff(again.Snapshot()); d != "" {
		t.Fatalf("after a restart: %s", d)
	}
}

// TestRetentionWaits keeps what the checkpoint has not passed.
func TestRetentionWaits(t *testing.T) {
	src := storetest.NewSource(5)
	s := open(t, t.TempDir(), store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer s.Close()
	for range 200 {
		mustApply(t, s, src.Next())
	}
	s.SetRetention(store.Retention{Bytes: 1})
	if err := s.Trim(); err != nil {
		t.Fatal(err)
	}
	if s.Oldest() != 1 {
		t.Fatalf("dropped up to %d before any checkpoint", s.Oldest())
	}
}
