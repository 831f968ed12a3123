// Package group keeps the committed offsets of consumer groups in a bbolt file
// and fences the members of a group from each other by generation.
//
// Invariants
//
//  1. A commit is on disk when it returns, and never goes backwards but by Reset.
//  2. A generation is given out once: those of a name only grow, across restarts
//     and across the end of a group and its new beginning. So a commit of a
//     consumer that was replaced is always recognised.
//  3. A group has at most one active member.
//  4. Who reads never waits for the disk: reads see the last commit that ended.
package group

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// maxGroups bounds the groups: a client chooses the name, and a group is kept
// until somebody forgets it.
const maxGroups = 1000

// FormatVersion is the number in the file. Files of format 1 have no checksums
// and get them at the first opportunity to write.
const FormatVersion = 2

var (
	bucketGroups = []byte("groups")
	bucketMeta   = []byte("meta")
	keyFormat    = []byte("format")
	keyRetired   = []byte("retired")
)

// Commit is a group's place in one topic.
type Commit struct {
	Offset change.Offset `json:"offset"` // last offset that was dealt with
	Rank   uint64        `json:"rank"`   // records of the topic up to it
	At     time.Time     `json:"at"`
	// Messages is how many messages of the topic the records up to Offset were, and
	// Place what was committed: both only where a commit names a message.
	Messages uint64               `json:"messages,omitempty"`
	Place    *change.MessagePlace `json:"place,omitempty"`
}

// Group is a group's durable state.
type Group struct {
	Generation uint64            `json:"generation"`
	Member     string            `json:"member,omitempty"` // who got that generation
	Topics     map[string]Commit `json:"topics"`
}

// content is what a file holds. It is never changed once others can see it.
type content struct {
	format  byte
	retired uint64 // no generation of a group that is gone is higher
	groups  map[string]*Group
}

// Options tune a File. The zero value has production defaults.
type Options struct {
	NoSync bool                // for tests of everything but durability
	Crash  func(point string)  // called at named points of every write, for crash tests
	Shared change.SharedGroups // of the nodes of a fleet, which the file then gives way to; nil for none
}

// File is the open file. It is safe for concurrent use.
type File struct {
	path string
	opt  Options
	file *boltfile.File
	seen atomic.Pointer[view]

	mu     sync.Mutex // held by the one who writes; guards what follows
	disk   content
	active map[string]*member
	synced bool   // the Shared groups were read
	was    string // what the Shared groups have of the group that is being changed
}

// view is what readers see.
type view struct {
	groups map[string]*Group
	active map[string]string // members by group
}

// member is who consumes for a group, until it leaves or is fenced.
type member struct {
	id         string
	generation uint64
	alone      bool // others are refused, rather than this one fenced
	fenced     chan struct{}
}

// Open opens the file, or creates it.
func Open(path string, opt Options) (*File, error) {
	f := &File{path: path, opt: opt, active: map[string]*member{}}
	f.mu.Lock() // for Loaded
	defer f.mu.Unlock()
	o := boltfile.Options{NoSync: opt.NoSync, Loaded: func(tx *bolt.Tx) (err error) {
		f.disk, err = read(tx)
		return err
	}}
	var err error
	f.file, err = boltfile.Open(path, o)
	if errors.Is(err, os.ErrNotExist) {
		f.file, err = boltfile.Create(path, o, func(tx *bolt.Tx) error { return begin(tx, f) })
	}
	if err == nil && f.disk.format < FormatVersion {
		if err = f.write(func(*bolt.Tx) error { return nil }); err != nil && !damaged(err) {
			err = nil // a full disk must not keep the store from starting
		}
	}
	if err != nil {
		if f.file != nil {
			_ = f.file.Close()
		}
		return nil, explain("open", path, err)
	}
	f.publish()
	return f, nil
}

// damaged separates an error about what is in the file from one of the machine.
func damaged(err error) bool {
	var e *boltfile.Error
	return errors.As(err, &e) || errors.Is(err, errContent)
}

var errContent = errors.New("damaged")

// explain says what to do about an error of the file's content.
func explain(do, path string, err error) error {
	err = fmt.Errorf("%s consumer groups %s: %w", do, path, err)
	if damaged(err) {
		err = fmt.Errorf("%w. Restore the file from a backup, or move it aside: consumers then begin again where they ask to", err)
	}
	return err
}

// begin fills a new file. Generations begin above those that a file which was
// lost may have given out.
func begin(tx *bolt.Tx, f *File) error {
	f.disk = content{format: FormatVersion, retired: uint64(time.Now().Unix()), groups: map[string]*Group{}}
	if _, err := tx.CreateBucket(bucketGroups); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	return putMeta(meta, f.disk.retired)
}

func putMeta(meta *bolt.Bucket, retired uint64) error {
	if err := meta.Put(keyFormat, []byte{FormatVersion}); err != nil {
		return err
	}
	return meta.Put(keyRetired, boltfile.Protect(keyRetired, binary.BigEndian.AppendUint64(nil, retired)))
}

// read reads everything and checks it.
func read(tx *bolt.Tx) (c content, err error) {
	c.groups = map[string]*Group{}
	problems := walk(tx, &c, func(name string, g *Group) { c.groups[name] = g })
	return c, errors.Join(problems...)
}

// walk reads the file, goes on behind what is damaged, and returns all of that.
func walk(tx *bolt.Tx, c *content, visit func(string, *Group)) (problems []error) {
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%w: %w", errContent, fmt.Errorf(format, args...)))
	}
	meta, groups := tx.Bucket(bucketMeta), tx.Bucket(bucketGroups)
	if meta == nil || groups == nil {
		wrong("buckets are missing")
		return problems
	}
	switch v := meta.Get(keyFormat); {
	case len(v) != 1 || v[0] == 0:
		wrong("the format is missing")
		return problems
	case v[0] > FormatVersion:
		return append(problems, fmt.Errorf("groups format %d: %w", v[0], boltfile.ErrTooNew))
	default:
		c.format = v[0]
	}
	if c.format > 1 {
		b, err := boltfile.Unprotect(keyRetired, meta.Get(keyRetired))
		if err != nil || len(b) != 8 {
			wrong("retired generations: %w", errors.Join(err, errLength(b)))
		} else {
			c.retired = binary.BigEndian.Uint64(b)
		}
	}
	if err := groups.ForEach(func(k, v []byte) (err error) {
		if c.format > 1 {
			v, err = boltfile.Unprotect(k, v)
		}
		g := &Group{}
		if err == nil {
			err = json.Unmarshal(v, g)
		}
		if err != nil {
			wrong("group %q: %w", k, err)
			return nil
		}
		visit(string(k), g)
		return nil
	}); err != nil {
		problems = append(problems, err)
	}
	return problems
}

func errLength(b []byte) error {
	if len(b) != 8 {
		return fmt.Errorf("value has %d bytes, want 8", len(b))
	}
	return nil
}

// Check reads a closed file without changing it: bbolt's own structure, every
// group, and that no offset lies behind the end of the changelog or in a hole of
// its history.
func Check(path string, end change.Offset, h change.History) error {
	file, err := boltfile.Open(path, boltfile.Options{ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return explain("check", path, err)
	}
	defer file.Close()
	problems := file.Check()
	if len(problems) == 0 {
		err = file.View(func(tx *bolt.Tx) error {
			return errors.Join(walk(tx, &content{}, func(name string, g *Group) {
				problems = append(problems, g.beyond(name, end, h)...)
			})...)
		})
	}
	if err = errors.Join(append(problems, err)...); err != nil {
		return explain("check", path, err)
	}
	return nil
}

// Within makes sure that every group stands inside the changelog: a consumer beyond
// its end, or at an offset of another history, would pass over changes.
func (f *File) Within(end change.Offset, h change.History) error {
	var problems []error
	for name, g := range f.seen.Load().groups {
		problems = append(problems, g.beyond(name, end, h)...)
	}
	if len(problems) > 0 {
		return explain("open", f.path, errors.Join(problems...))
	}
	return nil
}

func (g *Group) beyond(name string, end change.Offset, h change.History) (problems []error) {
	for topic, c := range g.Topics {
		if c.Offset > end {
			problems = append(problems, fmt.Errorf("%w: group %q stands at offset %d of %s, beyond the changelog's end at %d", errContent, name, c.Offset, topic, end))
		} else if err := h.Check("", c.Offset); err != nil {
			problems = append(problems, fmt.Errorf("%w: group %q, topic %s: %w", errContent, name, topic, err))
		}
	}
	return problems
}

// Close closes the file and ends every membership.
func (f *File) Close() error {
	f.mu.Lock()
	for _, m := range f.active {
		close(m.fenced)
	}
	clear(f.active)
	f.publish()
	f.mu.Unlock()
	if err := f.file.Close(); err != nil {
		return fmt.Errorf("close consumer groups: %w", err)
	}
	return nil
}

// publish shows readers what is there now. Callers hold mu.
func (f *File) publish() {
	v := &view{groups: maps.Clone(f.disk.groups), active: map[string]string{}}
	for name, m := range f.active {
		v.active[name] = m.id
	}
	f.seen.Store(v)
}

// write commits a change, and with it the checksums of a file that has none.
// Callers hold mu.
func (f *File) write(change func(tx *bolt.Tx) error) error {
	upgrade := f.disk.format < FormatVersion
	err := f.file.Update(func(tx *bolt.Tx) error {
		if upgrade {
			if err := putMeta(tx.Bucket(bucketMeta), f.disk.retired); err != nil {
				return err
			}
			for name, g := range f.disk.groups {
				if err := putGroup(tx, name, g); err != nil {
					return err
				}
			}
		}
		f.crash("groups.commit")
		return change(tx)
	})
	if err == nil {
		f.disk.format = FormatVersion
		f.crash("groups.done")
	}
	return err
}

func (f *File) crash(point string) {
	if f.opt.Crash != nil {
		f.opt.Crash(point)
	}
}

func putGroup(tx *bolt.Tx, name string, g *Group) error {
	v, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode group %q: %w", name, err)
	}
	return tx.Bucket(bucketGroups).Put([]byte(name), boltfile.Protect([]byte(name), v))
}

// put stores a group durably, then in memory. Callers hold mu.
func (f *File) put(name string, g *Group) error {
	if f.opt.Shared != nil {
		return f.share(name, g)
	}
	if err := f.write(func(tx *bolt.Tx) error { return putGroup(tx, name, g) }); err != nil {
		return explain(fmt.Sprintf("store group %q in", name), f.path, err)
	}
	f.disk.groups[name] = g
	f.publish()
	return nil
}

func (g *Group) clone() *Group {
	if g == nil {
		return &Group{Topics: map[string]Commit{}}
	}
	c := *g
	if c.Topics = maps.Clone(g.Topics); c.Topics == nil {
		c.Topics = map[string]Commit{}
	}
	return &c
}

// Join makes the caller the active member of a group, creating the group at
// need. Another member is fenced; the same member is refused with change.ErrMemberActive.
// One that is to be alone is refused while there is another, and others while it is
// there, with change.ErrGroupBusy.
func (f *File) Join(name, id string, alone bool) (out change.Member, err error) {
	err = f.update(name, func() error {
		out, err = f.join(name, id, alone)
		return err
	})
	return out, err
}

func (f *File) join(name, id string, alone bool) (change.Member, error) {
	old := f.active[name]
	if old != nil && old.id == id {
		return change.Member{}, fmt.Errorf("group %q: %w: %q", name, change.ErrMemberActive, id)
	}
	if old != nil && (alone || old.alone) {
		return change.Member{}, fmt.Errorf("group %q: %w: %q", name, change.ErrGroupBusy, old.id)
	}
	g, err := f.groupOrNew(name)
	if err != nil {
		return change.Member{}, err
	}
	g.Generation++
	g.Member = id
	if err := f.put(name, g); err != nil {
		return change.Member{}, err
	}
	if old != nil {
		close(old.fenced)
	}
	m := &member{id: id, generation: g.Generation, alone: alone, fenced: make(chan struct{})}
	f.active[name] = m
	f.publish()
	return change.Member{ID: id, Generation: g.Generation, Fenced: m.fenced, Leave: func() { f.leave(name, m) }}, nil
}

// groupOrNew returns a copy of a group to change, or a new one.
func (f *File) groupOrNew(name string) (*Group, error) {
	old := f.disk.groups[name]
	if old == nil && len(f.disk.groups) >= maxGroups {
		return nil, change.ErrTooManyGroups
	}
	g := old.clone()
	switch {
	case old != nil:
	case f.opt.Shared != nil:
		// Nobody keeps the generations of groups that are gone: a clock of microseconds is
		// above them, as nobody joins so often, and above those of restored files.
		now := time.Now()
		g.Generation = max(f.disk.retired, uint64(now.Unix())<<20+uint64(now.Nanosecond())<<20/1e9)
	default:
		g.Generation = f.disk.retired
	}
	return g, nil
}

// Supersede raises every generation to at least one: those that a copy of the file
// may have given out since it was made are not given out again.
func (f *File) Supersede(least uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.file.Ready(); err != nil {
		return explain("read", f.path, err)
	}
	c := content{retired: max(f.disk.retired, least), groups: map[string]*Group{}}
	err := f.write(func(tx *bolt.Tx) error {
		for name, g := range f.disk.groups {
			c.groups[name] = g.clone()
			c.groups[name].Generation = max(g.Generation, least)
			if err := putGroup(tx, name, c.groups[name]); err != nil {
				return err
			}
		}
		return putMeta(tx.Bucket(bucketMeta), c.retired)
	})
	if err != nil {
		return explain("supersede the generations of", f.path, err)
	}
	f.disk.groups, f.disk.retired = c.groups, c.retired
	f.publish()
	return nil
}

// leave ends a membership, if it is still the one of now.
func (f *File) leave(group string, m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active[group] == m {
		delete(f.active, group)
		f.publish()
	}
}

// Get returns a group.
func (f *File) Get(name string) (Group, bool) {
	g, ok := f.seen.Load().groups[name]
	return *g.clone(), ok
}

// All returns the groups and who is active in each.
func (f *File) All() (groups map[string]Group, active map[string]string) {
	v := f.seen.Load()
	groups = map[string]Group{}
	for name, g := range v.groups {
		groups[name] = *g.clone()
	}
	return groups, maps.Clone(v.active)
}

// Commit stores a place. The generation must be the group's newest, and the
// member, unless it is "", the one that got it.
func (f *File) Commit(name string, generation uint64, member, topic string, c Commit) error {
	return f.update(name, func() error {
		g := f.disk.groups[name].clone()
		switch {
		case f.disk.groups[name] == nil:
			return fmt.Errorf("group %q: %w", name, change.ErrGroupUnknown)
		case generation != g.Generation:
			return fmt.Errorf("group %q, generation %d, now %d: %w", name, generation, g.Generation, change.ErrStaleGeneration)
		case member != "" && g.Member != "" && member != g.Member:
			return fmt.Errorf("group %q: generation %d is not one of member %q: %w", name, generation, member, change.ErrStaleGeneration)
		case c.Offset < g.Topics[topic].Offset:
			return fmt.Errorf("group %q, %s, offset %d, committed %d: %w", name, topic, c.Offset, g.Topics[topic].Offset, change.ErrCommitBackwards)
		}
		g.Topics[topic] = c
		return f.put(name, g)
	})
}

// CommitPlaces stores places of several topics at once, also backwards. The
// generation must be the group's newest; 0 is for a group without a consumer.
func (f *File) CommitPlaces(name string, generation uint64, places map[string]Commit) error {
	return f.update(name, func() error {
		g, err := f.groupOrNew(name)
		switch m := f.active[name]; {
		case err != nil:
			return err
		case generation == 0 && m != nil:
			return fmt.Errorf("group %q: %w: %q", name, change.ErrGroupBusy, m.id)
		case generation != 0 && generation != g.Generation:
			return fmt.Errorf("group %q, generation %d, now %d: %w", name, generation, g.Generation, change.ErrStaleGeneration)
		}
		maps.Copy(g.Topics, places)
		return f.put(name, g)
	})
}

// Reset replaces the places of some topics. The group must have no consumer.
func (f *File) Reset(name string, places map[string]Commit) error {
	return f.update(name, func() error {
		if m := f.active[name]; m != nil {
			return fmt.Errorf("group %q: %w: %q", name, change.ErrGroupBusy, m.id)
		}
		g, err := f.groupOrNew(name)
		if err != nil {
			return err
		}
		maps.Copy(g.Topics, places)
		return f.put(name, g)
	})
}

// Delete forgets a group, but not its generation. The group must have no consumer.
func (f *File) Delete(name string) error {
	return f.update(name, func() error {
		g := f.disk.groups[name]
		if m := f.active[name]; m != nil {
			return fmt.Errorf("group %q: %w: %q", name, change.ErrGroupBusy, m.id)
		}
		if g == nil {
			return fmt.Errorf("group %q: %w", name, change.ErrGroupUnknown)
		}
		if f.opt.Shared != nil {
			return f.share(name, nil)
		}
		retired := max(f.disk.retired, g.Generation)
		if err := f.write(func(tx *bolt.Tx) error {
			if err := putMeta(tx.Bucket(bucketMeta), retired); err != nil {
				return err
			}
			return tx.Bucket(bucketGroups).Delete([]byte(name))
		}); err != nil {
			return explain(fmt.Sprintf("delete group %q from", name), f.path, err)
		}
		f.disk.retired = retired
		delete(f.disk.groups, name)
		f.publish()
		return nil
	})
}

// CopyTo writes a consistent copy of the file to the writer that open returns
// for its size. The copy is made in memory first: a slow receiver would keep
// commits waiting, and groups are few and small.
func (f *File) CopyTo(open func(size int64) (io.Writer, error)) error {
	var copied bytes.Buffer
	if err := f.file.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(&copied)
		return err
	}); err != nil {
		return explain("copy", f.path, err)
	}
	w, err := open(int64(copied.Len()))
	if err != nil {
		return err
	}
	_, err = copied.WriteTo(w)
	return err
}
