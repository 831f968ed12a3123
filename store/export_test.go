package store

import (
	"context"
	"time"
)

// Maintain runs one round of what Run does, and reports what Run logs.
func (s *Store) Maintain(ctx context.Context) error {
	if err := s.checkpoint(ctx); err != nil {
		return err
	}
	defer s.lookBack()
	return s.Trim()
}

// Trim applies retention once.
func (s *Store) Trim() error { return s.trim(time.Now()) }

// MakeFilters makes the key filters that are missing, as Run does one by one.
func (s *Store) MakeFilters(ctx context.Context) {
	for before := ^uint64(0); s.filtered.Load() != before; {
		before = s.filtered.Load()
		s.filterNext(ctx)
	}
}
