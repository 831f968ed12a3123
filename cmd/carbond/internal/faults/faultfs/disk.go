package faultfs

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Kind says what an operation does.
type Kind string

// The kinds of operations.
const (
	Create   Kind = "create" // or a second link
	Mkdir    Kind = "mkdir"
	Unlink   Kind = "unlink" // or rmdir
	Rename   Kind = "rename"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Grow     Kind = "allocate"
	Sync     Kind = "sync"
	SyncDir  Kind = "sync of a directory"
	Open     Kind = "open" // not recorded
	Read     Kind = "read" // not recorded
	Mark     Kind = "mark" // changes nothing
)

// ID tells files and directories apart, whatever their names.
type ID struct{ Ino, Gen uint64 }

// Op is one operation that was done.
type Op struct {
	Kind          Kind
	Path          string // below the root, when it was done
	Dir, NewDir   ID     // of the names
	Name, NewName string
	File          ID // written, truncated, synced, or behind the name
	Off           int64
	Data          []byte
	Text          string // of a mark
}

// Disk is what the operations so far have left on the platter and in the
// kernel's memory.
type Disk struct {
	root  ID
	files map[ID]*inode
	dirs  map[ID]map[string]ID // names that are safe
	live  map[ID]map[string]ID // names as a running system sees them
	names []nameOp             // not safe yet
}

type inode struct {
	safe    []byte
	pending []Op
}

// nameOp is a change of one or two directories, which happens as a whole.
type nameOp struct {
	Op
	file ID // that moves or comes
}

// NewDisk returns an empty disk for the record of a mount.
func NewDisk(ops []Op) *Disk {
	d := &Disk{files: map[ID]*inode{}, dirs: map[ID]map[string]ID{}, live: map[ID]map[string]ID{}}
	for _, op := range ops {
		if op.Dir != (ID{}) && filepath.Dir(op.Path) == "." {
			d.root = op.Dir
			break
		}
	}
	return d
}

// Do takes in the next operation.
func (d *Disk) Do(op Op) {
	switch op.Kind {
	case Create, Mkdir, Unlink, Rename:
		n := nameOp{op, op.File}
		if op.Kind == Rename {
			n.file = d.live[op.Dir][op.Name]
		}
		n.apply(d.live)
		if op.Kind == Mkdir {
			d.live[op.File] = map[string]ID{}
		}
		d.names = append(d.names, n)
	case Write, Truncate, Grow:
		f := d.file(op.File)
		f.pending = append(f.pending, op)
	case Sync:
		f := d.file(op.File)
		for _, p := range f.pending {
			f.safe = apply(f.safe, p, nil)
		}
		f.pending = nil
	case SyncDir:
		d.names = slices.DeleteFunc(d.names, func(n nameOp) bool {
			mine := n.Dir == op.File || n.Kind == Rename && n.NewDir == op.File
			if mine {
				n.apply(d.dirs)
			}
			return mine
		})
	}
}

func (d *Disk) file(id ID) *inode {
	f := d.files[id]
	if f == nil {
		f = &inode{}
		d.files[id] = f
	}
	return f
}

func (n nameOp) apply(dirs map[ID]map[string]ID) {
	put := func(dir ID, name string, to ID) {
		if dirs[dir] == nil {
			dirs[dir] = map[string]ID{}
		}
		dirs[dir][name] = to
	}
	switch n.Kind {
	case Unlink:
		delete(dirs[n.Dir], n.Name)
	case Rename:
		delete(dirs[n.Dir], n.Name)
		put(n.NewDir, n.NewName, n.file)
	default:
		put(n.Dir, n.Name, n.file)
	}
}

// sector is what a disk writes whole.
const sector = 512

// apply gives a file the effect of an operation, or of those of its sectors
// that keep allows.
func apply(b []byte, op Op, keep func(sector int64) bool) []byte {
	size := func(n int64) {
		if grow := n - int64(len(b)); grow > 0 {
			b = append(b, make([]byte, grow)...)
		}
	}
	switch op.Kind {
	case Truncate:
		size(op.Off)
		return b[:op.Off]
	case Grow:
		size(op.Off)
	case Write:
		for off, data := op.Off, op.Data; len(data) > 0; {
			n := min(int64(len(data)), sector-off%sector)
			if keep == nil || keep(off/sector) {
				size(off + n)
				copy(b[off:], data[:n])
			}
			off, data = off+n, data[n:]
		}
	}
	return b
}

// Cut writes into dir what may be found when the power goes now: all that is
// safe, and a random part of the rest. A sector that was written several times
// since the last sync may be of any of these times. Names come in the order in
// which they were made, as with a journal, or, with loose, each for itself.
// It returns how the choice was made.
func (d *Disk) Cut(rng *rand.Rand, dir string) (string, error) {
	dirs := map[ID]map[string]ID{}
	for id, names := range d.dirs {
		dirs[id] = maps.Clone(names)
	}
	how := []string{"no name", "all names", "first names", "some names"}[rng.IntN(4)]
	first := rng.IntN(len(d.names) + 1)
	for i, n := range d.names {
		if how == "all names" || how == "first names" && i < first || how == "some names" && rng.IntN(2) == 0 {
			n.apply(dirs)
		}
	}
	data := []string{"no data", "all data", "some data", "some data"}[rng.IntN(4)]
	return how + ", " + data, d.write(rng, data, dirs, d.root, dir)
}

func (d *Disk) write(rng *rand.Rand, how string, dirs map[ID]map[string]ID, id ID, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(dirs[id])) {
		child, path := dirs[id][name], filepath.Join(dir, name)
		var err error
		if d.live[child] != nil { // a directory
			err = d.write(rng, how, dirs, child, path)
		} else {
			err = os.WriteFile(path, d.content(rng, how, child), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// content draws what a file may hold.
func (d *Disk) content(rng *rand.Rand, how string, id ID) []byte {
	f := d.files[id]
	if f == nil {
		return nil
	}
	if how == "no data" || len(f.pending) == 0 {
		return f.safe
	}
	b := slices.Clone(f.safe)
	if how == "all data" {
		for _, op := range f.pending {
			b = apply(b, op, nil)
		}
		return b
	}
	upTo := func() int { // so many of the operations have reached it
		switch rng.IntN(3) {
		case 0:
			return 0
		case 1:
			return len(f.pending)
		}
		return rng.IntN(len(f.pending) + 1)
	}
	sectors, size := map[int64]int{}, upTo()
	for i, op := range f.pending {
		if op.Kind != Write && i >= size {
			continue
		}
		b = apply(b, op, func(s int64) bool {
			n, ok := sectors[s]
			if !ok {
				n = upTo()
				sectors[s] = n
			}
			return i < n
		})
	}
	return b
}
