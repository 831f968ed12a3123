package group

// Count returns the number of groups, and whether the named one is among them.
func (f *File) Count(name string) (n int, exists bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.groups), f.groups[name] != nil
}
