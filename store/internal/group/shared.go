package group

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"carbond/store/change"
)

// errMoved means that another node has changed the group meanwhile.
var errMoved = errors.New("group was changed by another node")

// update makes a change of one group. After a commit that failed it reads again what
// the disk holds, so that the change begins from that; and of Shared groups what the other nodes
// have made of this one. do is called again when one of them was faster.
func (f *File) update(name string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.file.Ready(); err != nil {
		return explain("read", f.path, err)
	}
	for {
		if err := f.refresh(name); err != nil {
			return err
		}
		if err := do(); !errors.Is(err, errMoved) {
			return err
		}
	}
}

// refresh takes over what the Shared groups have of one. Callers hold mu.
func (f *File) refresh(name string) (err error) {
	if f.opt.Shared == nil {
		return nil
	}
	if f.was, err = f.opt.Shared.Get(name); err != nil {
		return fmt.Errorf("group %q: %w: %w", name, change.ErrGroupsAway, err)
	}
	g, err := decode(name, f.was)
	if err != nil {
		return err
	}
	f.take(name, g)
	f.publish()
	return nil
}

func decode(name, text string) (*Group, error) {
	if text == "" {
		return nil, nil
	}
	g := &Group{}
	if err := json.Unmarshal([]byte(text), g); err != nil {
		return nil, fmt.Errorf("group %q, as the fleet keeps it: %w: %w", name, errContent, err)
	}
	return g, nil
}

// take is what a group is now, nil when it is gone. A member of another node has fenced
// ours when the generation is not that of ours any more. Callers hold mu.
func (f *File) take(name string, g *Group) {
	if g == nil {
		delete(f.disk.groups, name)
	} else {
		f.disk.groups[name] = g
	}
	if m := f.active[name]; m != nil && (g == nil || g.Generation != m.generation) {
		close(m.fenced)
		delete(f.active, name)
	}
}

// share stores a group, nil to forget it, if no other node has changed it since it was
// read. Callers hold mu.
func (f *File) share(name string, g *Group) error {
	text := ""
	if g != nil {
		b, err := json.Marshal(g)
		if err != nil {
			return fmt.Errorf("encode group %q: %w", name, err)
		}
		text = string(b)
	}
	ok, err := f.opt.Shared.Swap(name, f.was, text)
	switch {
	case err != nil:
		return fmt.Errorf("group %q: %w: %w", name, change.ErrGroupsAway, err)
	case !ok:
		return errMoved
	}
	if g == nil {
		delete(f.disk.groups, name)
	} else {
		f.disk.groups[name] = g
	}
	f.publish()
	return nil
}

// Sync takes over all that the Shared groups have. Where they have nothing at all when it is
// called for the first time, those of the file are the first.
func (f *File) Sync(ctx context.Context) error {
	if f.opt.Shared == nil {
		return nil
	}
	f.mu.Lock() // first: what is read must not be older than what this node makes meanwhile
	defer f.mu.Unlock()
	all, err := f.opt.Shared.All(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", change.ErrGroupsAway, err)
	}
	defer f.publish()
	first := !f.synced
	f.synced = true
	if first && len(all) == 0 {
		for name, g := range maps.Clone(f.disk.groups) {
			f.was = ""
			if err := f.share(name, g); err != nil && !errors.Is(err, errMoved) {
				f.synced = false
				return err
			}
		}
		return nil
	}
	for name := range maps.Clone(f.disk.groups) {
		if all[name] == "" {
			f.take(name, nil)
		}
	}
	for name, text := range all {
		g, err := decode(name, text)
		if err != nil {
			return err
		}
		f.take(name, g)
	}
	return nil
}
