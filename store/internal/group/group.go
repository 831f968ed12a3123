// Package group keeps the committed offsets of consumer groups in a bbolt file
// and fences the members of a group from each other by generation.
//
// Invariants
//
//  1. A commit is on disk when it returns, and never goes backwards but by Reset.
//  2. Generations of a group only grow, also across restarts, so a commit of a
//     consumer that was replaced is always recognised.
//  3. A group has at most one active member.
package group

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/boltfile"
)

// Errors of this package.
var (
	// ErrActive means that the member is consuming already.
	ErrActive = errors.New("member is consuming already")
	// ErrStale means that another consumer has taken over.
	ErrStale = errors.New("generation is stale: another consumer of the group has taken over")
	// ErrUnknown means that there is no such group.
	ErrUnknown = errors.New("no such group")
	// ErrBusy means that the group has an active consumer.
	ErrBusy = errors.New("group has an active consumer")
	// ErrClosed means that the file is closed.
	ErrClosed = changelog.ErrClosed
	// ErrBackwards means that a commit lies before the committed offset.
	ErrBackwards = errors.New("offset lies before the committed one")
)

// FormatVersion is the number in the file.
const FormatVersion = 1

var (
	bucketGroups = []byte("groups")
	bucketMeta   = []byte("meta")
	keyFormat    = []byte("format")
)

// Commit is a group's place in one topic.
type Commit struct {
	Offset change.Offset `json:"offset"` // last offset that was dealt with
	Rank   uint64        `json:"rank"`   // records of the topic up to it
	At     time.Time     `json:"at"`
}

// Group is a group's durable state.
type Group struct {
	Generation uint64            `json:"generation"`
	Topics     map[string]Commit `json:"topics"`
}

// File is the open file. It is safe for concurrent use.
type File struct {
	db *bolt.DB

	mu     sync.Mutex // guards what follows
	groups map[string]*Group
	active map[string]*Member
}

// Member is a consumer's hold on its group, until Leave or until it is fenced.
type Member struct {
	Group      string
	ID         string
	Generation uint64
	fenced     chan struct{}
	file       *File
}

// Fenced is closed when another member has taken over.
func (m *Member) Fenced() <-chan struct{} { return m.fenced }

// Open opens the file, or creates it.
func Open(path string, noSync bool) (*File, error) {
	f := &File{groups: map[string]*Group{}, active: map[string]*Member{}}
	if err := guard(func() error { return f.open(path, noSync) }); err != nil {
		if f.db != nil {
			_ = f.db.Close()
		}
		return nil, fmt.Errorf("open consumer groups %s: %w%s", path, err, remedy)
	}
	return f, nil
}

// remedy is said with every error about the file's content.
const remedy = ". Restore the file from a backup, or move it aside: consumers then begin anew where they ask to"

// guard turns a panic or a memory fault inside bbolt, which damage causes, into
// an error.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if p := recover(); p != nil {
			err = fmt.Errorf("bbolt: %v", p)
		}
	}()
	return fn()
}

func (f *File) open(path string, noSync bool) error {
	db, err := bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second, NoSync: noSync})
	if err != nil {
		return err
	}
	f.db = db
	return db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if v := meta.Get(keyFormat); len(v) == 1 && v[0] > FormatVersion {
			return fmt.Errorf("groups format %d: %w", v[0], changelog.ErrTooNew)
		}
		if err := meta.Put(keyFormat, []byte{FormatVersion}); err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(bucketGroups)
		if err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			g := &Group{}
			if err := json.Unmarshal(v, g); err != nil {
				return fmt.Errorf("group %q: %w", k, err)
			}
			f.groups[string(k)] = g
			return nil
		})
	})
}

// Check reads a closed file without changing it: bbolt's own structure, every
// group, and that no offset lies behind the end of the changelog.
func Check(path string, end change.Offset) error {
	var problems []error
	err := guard(func() error {
		db, err := bolt.Open(path, 0o640, &bolt.Options{Timeout: time.Second, ReadOnly: true})
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer db.Close()
		return db.View(func(tx *bolt.Tx) error {
			if err := boltfile.Probe(path); err != nil {
				return err
			}
			for err := range tx.Check() {
				problems = append(problems, err)
			}
			b := tx.Bucket(bucketGroups)
			if b == nil {
				return errors.New("the bucket of groups is missing")
			}
			return b.ForEach(func(k, v []byte) error {
				g := &Group{}
				if err := json.Unmarshal(v, g); err != nil {
					problems = append(problems, fmt.Errorf("group %q: %w", k, err))
				}
				problems = append(problems, g.beyond(string(k), end)...)
				return nil
			})
		})
	})
	if err = errors.Join(append(problems, err)...); err != nil {
		return fmt.Errorf("consumer groups %s: %w%s", path, err, remedy)
	}
	return nil
}

// Within makes sure that no group stands beyond the end of the changelog: its
// consumer would never see the changes that take these offsets.
func (f *File) Within(end change.Offset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var problems []error
	for name, g := range f.groups {
		problems = append(problems, g.beyond(name, end)...)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("consumer groups %s: %w%s", f.db.Path(), err, remedy)
	}
	return nil
}

func (g *Group) beyond(name string, end change.Offset) (problems []error) {
	for topic, c := range g.Topics {
		if c.Offset > end {
			problems = append(problems, fmt.Errorf("group %q stands at offset %d of %s, beyond the changelog's end at %d", name, c.Offset, topic, end))
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
	f.mu.Unlock()
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close consumer groups: %w", err)
	}
	return nil
}

// put stores a group durably, then in memory. Callers hold mu.
func (f *File) put(name string, g *Group) error {
	v, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encode group %q: %w", name, err)
	}
	if err := f.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketGroups).Put([]byte(name), v) }); err != nil {
		return fmt.Errorf("store group %q: %w", name, err)
	}
	f.groups[name] = g
	return nil
}

func (g *Group) clone() *Group {
	c := &Group{Topics: map[string]Commit{}}
	if g != nil {
		c.Generation = g.Generation
		for t, v := range g.Topics {
			c.Topics[t] = v
		}
	}
	return c
}

// Join makes the caller the active member of a group, creating the group at
// need. Another member is fenced; the same member is refused with ErrActive.
func (f *File) Join(name, id string) (*Member, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.active[name]
	if old != nil && old.ID == id {
		return nil, fmt.Errorf("group %q: %w: %q", name, ErrActive, id)
	}
	g := f.groups[name].clone()
	g.Generation++
	if err := f.put(name, g); err != nil {
		return nil, err
	}
	if old != nil {
		close(old.fenced)
	}
	m := &Member{Group: name, ID: id, Generation: g.Generation, fenced: make(chan struct{}), file: f}
	f.active[name] = m
	return m, nil
}

// Leave ends the membership. It may be called more than once.
func (m *Member) Leave() {
	m.file.mu.Lock()
	defer m.file.mu.Unlock()
	if m.file.active[m.Group] == m {
		delete(m.file.active, m.Group)
	}
}

// Get returns a group.
func (f *File) Get(name string) (Group, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, ok := f.groups[name]
	if !ok {
		return Group{}, false
	}
	return *g.clone(), true
}

// All returns the groups and who is active in each.
func (f *File) All() (groups map[string]Group, active map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	groups, active = map[string]Group{}, map[string]string{}
	for name, g := range f.groups {
		groups[name] = *g.clone()
	}
	for name, m := range f.active {
		active[name] = m.ID
	}
	return groups, active
}

// Commit stores a place. The generation must be the group's newest.
func (f *File) Commit(name string, generation uint64, topic string, c Commit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.groups[name].clone()
	if f.groups[name] == nil {
		return fmt.Errorf("group %q: %w", name, ErrUnknown)
	}
	if generation != g.Generation {
		return fmt.Errorf("group %q, generation %d, now %d: %w", name, generation, g.Generation, ErrStale)
	}
	if c.Offset < g.Topics[topic].Offset {
		return fmt.Errorf("group %q, %s, offset %d, committed %d: %w", name, topic, c.Offset, g.Topics[topic].Offset, ErrBackwards)
	}
	g.Topics[topic] = c
	return f.put(name, g)
}

// Reset replaces the places of some topics. The group must have no consumer.
func (f *File) Reset(name string, places map[string]Commit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.active[name]; m != nil {
		return fmt.Errorf("group %q: %w: %q", name, ErrBusy, m.ID)
	}
	g := f.groups[name].clone()
	for t, c := range places {
		g.Topics[t] = c
	}
	return f.put(name, g)
}

// Delete forgets a group. The group must have no consumer.
func (f *File) Delete(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.active[name]; m != nil {
		return fmt.Errorf("group %q: %w: %q", name, ErrBusy, m.ID)
	}
	if f.groups[name] == nil {
		return fmt.Errorf("group %q: %w", name, ErrUnknown)
	}
	if err := f.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketGroups).Delete([]byte(name)) }); err != nil {
		return fmt.Errorf("delete group %q: %w", name, err)
	}
	delete(f.groups, name)
	return nil
}

// CopyTo writes a consistent copy of the file to the writer that open returns
// for its size. The copy is made in memory first: a slow receiver would keep
// commits waiting, and groups are few and small.
func (f *File) CopyTo(open func(size int64) (io.Writer, error)) error {
	var copied bytes.Buffer
	if err := f.db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(&copied)
		return err
	}); err != nil {
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			return ErrClosed
		}
		return fmt.Errorf("copy consumer groups: %w", err)
	}
	w, err := open(int64(copied.Len()))
	if err != nil {
		return err
	}
	_, err = copied.WriteTo(w)
	return err
}
