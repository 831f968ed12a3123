package store

// GroupCount returns the number of consumer groups, and whether the named one
// is among them.
func (s *Store) GroupCount(name string) (n int, exists bool) { return s.groups.Count(name) }
