package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// ledger is the numbering of messages, made naively from every record that was
// ever written.
type ledger struct {
	offsets map[string][]change.Offset // by topic, the record of each message
	base    map[string]uint64          // number of the first
	next    change.Offset
}

// read takes in what the store has written since.
func (l *ledger) read(t *testing.T, s *store.Store) {
	t.Helper()
	for _, r := range readAll(t, s, max(l.next, s.Oldest())) {
		l.next = r.Offset + 1
		topic := r.Relation.Topic()
		switch r.Op {
		case change.Retract, change.Removed:
			continue
		case change.Delete:
			l.offsets[topic] = append(l.offsets[topic], r.Offset)
		}
		l.offsets[topic] = append(l.offsets[topic], r.Offset)
	}
}

// check compares everything that the store says about a few places.
func (l *ledger) check(t *testing.T, s *store.Store, rng *rand.Rand) {
	t.Helper()
	ctx, end := context.Background(), s.Position().Offset
	for _, topic := range s.Topics() {
		oldest := s.Oldest()
		if topic.Plain {
			oldest = s.Floor()
		}
		all, base := l.offsets[topic.Name], l.base[topic.Name]
		gone := 0
		for gone < len(all) && all[gone] < oldest {
			gone++
		}
		first, next, err := s.Messages(ctx, topic.Name)
		if err != nil || first != base+uint64(gone) || next != base+uint64(len(all)) || topic.Messages != next {
			t.Fatalf("%s: messages %d to %d (%d), want %d to %d: %v", topic.Name, first, next, topic.Messages, base+uint64(gone), base+uint64(len(all)), err)
		}
		for range 4 {
			i := rng.IntN(len(all) + 1)
			wantAt, from := end+1, i
			if i < len(all) {
				for wantAt = all[i]; from > 0 && all[from-1] == wantAt; from-- {
				}
			}
			at, begins, err := s.FindMessage(ctx, topic.Name, base+uint64(i))
			var compacted *change.CompactedError
			switch {
			case from < gone:
				if !errors.As(err, &compacted) || compacted.Oldest != oldest {
					t.Fatalf("%s: message %d: %v, want one that retention took", topic.Name, i, err)
				}
			case err != nil || at != wantAt || begins != base+uint64(from):
				t.Fatalf("%s: message %d of %d to %d is at %d from %d (%v), want %d from %d", topic.Name, i, gone, len(all), at, begins, err, wantAt, from)
			}
		}
		if _, _, err := s.FindMessage(ctx, topic.Name, next+1); !errors.Is(err, change.ErrFuture) {
			t.Fatalf("%s: the message behind the next: %v", topic.Name, err)
		}
		for range 4 {
			at := oldest - 1 + change.Offset(rng.Uint64N(uint64(end-oldest)+2))
			want := base
			for _, o := range all {
				if o <= at {
					want++
				}
			}
			if n, err := s.MessagesUpTo(ctx, topic.Name, at); err != nil || n != want {
				t.Fatalf("%s: %d messages up to offset %d (%v), want %d", topic.Name, n, at, err, want)
			}
		}
	}
}

// commit commits a message of each topic for a group, backwards too, and compares
// where that leaves the group.
func (l *ledger) commit(t *testing.T, s *store.Store, rng *rand.Rand) {
	t.Helper()
	end := s.Position().Offset
	places, want := map[string]change.MessagePlace{}, map[string]change.Offset{}
	for topic, all := range l.offsets {
		oldest := s.Oldest()
		if topic, _ := s.Topic(topic); topic.Plain {
			oldest = s.Floor()
		}
		i := rng.IntN(len(all) + 1)
		places[topic] = change.MessagePlace{Next: l.base[topic] + uint64(i), Epoch: 3, Metadata: "m"}
		for i < len(all) && all[i] < oldest {
			i++ // retention took it: the group goes on with what is left
		}
		want[topic] = end
		if i < len(all) {
			want[topic] = s.History().Before(all[i])
		}
	}
	if err := s.CommitMessages(t.Context(), "desk", 0, places); err != nil {
		t.Fatal(err)
	}
	for _, g := range s.Groups()[0].Topics {
		lag := map[change.Offset]bool{}
		for _, o := range l.offsets[g.Topic] {
			if o > want[g.Topic] {
				lag[o] = true
			}
		}
		if g.Committed != want[g.Topic] || *g.Place != places[g.Topic] || g.Lag != uint64(len(lag)) {
			t.Fatalf("%s: committed %+v: at %d with lag %d, want %d and %d", g.Topic, *g.Place, g.Committed, g.Lag, want[g.Topic], len(lag))
		}
	}
}

// TestMessages: the numbers of messages have no gaps and do not change, over
// segments, transactions of several segments, retention and restarts, and go on in
// directories of before.
func TestMessages(t *testing.T) {
	for name, golden := range map[string]string{"new": "", "format 1": "golden-1", "format 2": "golden-2"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if golden != "" {
				if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", golden))); err != nil {
					t.Fatal(err)
				}
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			opt := store.Options{NoSync: true, SegmentBytes: 8 << 10}
			s := open(t, dir, opt)
			defer func() { s.Close() }()
			l := &ledger{offsets: map[string][]change.Offset{}, base: map[string]uint64{}, next: s.Oldest()}
			l.read(t, s)
			for _, topic := range s.Topics() {
				l.base[topic.Name] = topic.Messages - uint64(len(l.offsets[topic.Name]))
				if golden == "" && topic.Messages != 0 {
					t.Fatalf("%s begins at message %d", topic.Name, topic.Messages)
				}
			}
			l.check(t, s, rng)
			src, lsn := storetest.NewSource(seed), s.Position().LSN
			src.Plain = true
			for range 60 {
				for range rng.IntN(12) {
					txn := src.Next()
					txn.CommitLSN, txn.EndLSN = txn.CommitLSN+lsn, txn.EndLSN+lsn
					parts := []change.Txn{txn}
					if rng.IntN(4) == 0 {
						parts = storetest.Split(txn, 3)
					}
					if err := s.Apply(t.Context(), parts); err != nil {
						t.Fatal(err)
					}
				}
				l.read(t, s)
				switch what := rng.IntN(6); what {
				case 0, 2:
					s.SetRetention(store.Retention{Bytes: int64(2-what) * int64(20+rng.IntN(50)) << 10, TablesBytes: int64(what) * int64(1+rng.IntN(4<<10))})
					if err := s.Maintain(t.Context()); err != nil {
						t.Fatal(err)
					}
				case 1:
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, dir, opt)
				}
				l.check(t, s, rng)
				l.commit(t, s, rng)
			}
			s.SetRetention(store.Retention{TablesBytes: 1})
			for from := s.Floor(); s.Floor() == from; l.check(t, s, rng) {
				txn := src.Next()
				txn.CommitLSN, txn.EndLSN = txn.CommitLSN+lsn, txn.EndLSN+lsn
				mustApply(t, s, txn)
				l.read(t, s)
				if err := s.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestJoinAlone: who speaks for several members is never fenced, and fences nobody.
func TestJoinAlone(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	places := map[string]change.MessagePlace{change.TopicName(change.News): {}}
	alone, err := s.JoinAlone("desk", "kafka")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitMessages(t.Context(), "desk", alone.Generation, places); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a member":              second(s.Join("desk", "one")),
		"another who is alone":  second(s.JoinAlone("desk", "two")),
		"a commit of no member": s.CommitMessages(t.Context(), "desk", 0, places),
		"a reset":               s.ResetGroup(t.Context(), "desk", []string{change.TopicName(change.News)}, 0),
	} {
		if !errors.Is(err, change.ErrGroupBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	alone.Leave()
	one, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Leave()
	if _, err := s.JoinAlone("desk", "kafka"); !errors.Is(err, change.ErrGroupBusy) {
		t.Errorf("alone beside a member: %v", err)
	}
	if err := s.CommitMessages(t.Context(), "desk", alone.Generation, places); !errors.Is(err, change.ErrStaleGeneration) {
		t.Errorf("a commit of the one before: %v", err)
	}
	if err := s.CommitMessages(t.Context(), "desk", one.Generation, map[string]change.MessagePlace{change.TopicName(change.News): {Next: 1}}); !errors.Is(err, change.ErrFuture) {
		t.Errorf("a commit of what is not there: %v", err)
	}
}

func second(_ change.Member, err error) error { return err }
