package store

import (
	"fmt"
	"math"
	"time"

	"carbond/store/change"
)

// trim drops the oldest segments while the retention policy says so, never one
// that the checkpoint has not passed.
func (s *Store) trim(now time.Time) error {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	r := *s.retain.Load()
	if r.Age <= 0 && r.Bytes <= 0 || s.backups.Load() > 0 {
		return nil
	}
	applied, held := s.ckpt.at(), s.held(r)
	segs := s.changelog.Segments()
	var total int64
	for _, g := range segs {
		total += g.Bytes
	}
	for _, g := range segs {
		old := r.Age > 0 && now.Sub(g.Written) > r.Age
		big := r.Bytes > 0 && total > r.Bytes
		if !g.Sealed || g.Last > applied || !old && !big {
			return nil
		}
		if g.Last > held && (r.HoldBytes <= 0 || total <= r.HoldBytes) {
			return nil
		}
		if err := s.changelog.DropOldest(); err != nil {
			return err
		}
		total -= g.Bytes
		s.met.dropped()
		s.log.Info("dropped an old changelog segment", "segment", g.Path, "first_offset", uint64(g.First), "last_offset", uint64(g.Last))
	}
	return nil
}

// held returns the offset up to which no held group needs the log any more.
func (s *Store) held(r Retention) change.Offset {
	at := change.Offset(math.MaxUint64)
	for _, name := range r.Hold {
		g, _ := s.groups.Get(name)
		for _, c := range g.Topics {
			at = min(at, c.Offset)
		}
	}
	return at
}

// Gone reports what retention has taken: the oldest offset that is kept, and of
// each topic the last change before it, 0 for none. When the log begins inside a
// transaction nobody knows whose changes are gone; then every table's may be.
func (s *Store) Gone() (oldest change.Offset, last map[string]change.Offset, err error) {
	starts, err := s.changelog.Starts()
	if err != nil {
		return 0, nil, fmt.Errorf("read where the changelog begins: %w", err)
	}
	first := starts[0]
	last = map[string]change.Offset{}
	for _, t := range s.Topics() {
		at, _, err := s.topicAtStart(first, t.Name)
		if err != nil {
			return 0, nil, err
		}
		last[t.Name] = at.Last
		if s.History().After(first.Visible) < first.Next {
			last[t.Name] = first.Next - 1
		}
	}
	return first.Next, last, nil
}
