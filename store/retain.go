package store

import "time"

// trim drops the oldest segments while the retention policy says so, never one
// that the checkpoint has not passed.
func (s *Store) trim(now time.Time) error {
	r := *s.retain.Load()
	if r.Age <= 0 && r.Bytes <= 0 {
		return nil
	}
	applied := s.ckpt.at()
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
		if err := s.changelog.DropOldest(); err != nil {
			return err
		}
		total -= g.Bytes
		s.met.dropped()
		s.log.Info("dropped an old changelog segment", "segment", g.Path, "first_offset", uint64(g.First), "last_offset", uint64(g.Last))
	}
	return nil
}
