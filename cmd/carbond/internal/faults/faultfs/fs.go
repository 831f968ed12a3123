//go:build linux

package faultfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// MarkFile is the name of a file in the root whose writes become Marks in the
// record, in order with all else. It is not recorded otherwise, and never fails.
const MarkFile = ".mark"

// Fault makes operations fail.
type Fault struct {
	Ops   []Kind        // which; none means every kind
	Path  string        // pattern of the base name, as path.Match has it; "" is any
	After int           // operations of these that pass before
	For   int           // operations that fail then; negative: for good
	Err   syscall.Errno // what they answer; 0 lets them pass
	Short bool          // a write takes half of its bytes
	Slow  time.Duration // they take so long
	Lie   bool          // a sync says that all is well and does nothing
}

// FS is a mounted file system.
type FS struct {
	Dir string // where it is mounted

	back string

	mu     sync.Mutex // guards what follows, and orders what is done
	ops    []Op
	faults []Fault
	hit    int
	healed chan struct{} // closed by the next Heal
}

// Mount mounts a file system over the directory back until the test ends. It
// skips the test where there is no FUSE.
func Mount(tb testing.TB, back string) *FS {
	tb.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		tb.Skipf("no FUSE here: %v", err)
	}
	f := &FS{Dir: tb.TempDir(), back: back, healed: make(chan struct{})}
	var st syscall.Stat_t
	if err := syscall.Stat(back, &st); err != nil {
		tb.Fatal(err)
	}
	data := &fs.LoopbackRoot{Path: back, Dev: st.Dev}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: data}, fs: f}
	data.RootNode = root
	keep := time.Minute // nobody else changes back
	server, err := fs.Mount(f.Dir, root, &fs.Options{
		EntryTimeout: &keep, AttrTimeout: &keep,
		MountOptions: fuse.MountOptions{FsName: "faultfs", DirectMount: true, MaxWrite: 1 << 20, DisableXAttrs: true},
	})
	if err != nil {
		tb.Skipf("no FUSE here: %v", err)
	}
	tb.Cleanup(func() {
		f.Heal()
		err := server.Unmount()
		for end := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(end); err = server.Unmount() {
			<-time.After(20 * time.Millisecond) // a killed process still lets go of its files
		}
		if err != nil {
			tb.Errorf("unmount %s: %v", f.Dir, err)
			return
		}
		server.Wait()
	})
	return f
}

// Inject adds a fault to those that are there.
func (f *FS) Inject(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, x)
}

// Heal takes all faults away, slow operations go on at once, and reports how many
// operations they have hit since the last time.
func (f *FS) Heal() (hit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hit, f.faults, f.hit = f.hit, nil, 0
	close(f.healed)
	f.healed = make(chan struct{})
	return hit
}

// Hit reports how many operations faults have hit since the last Heal.
func (f *FS) Hit() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// Ops returns what has been done since the mount.
func (f *FS) Ops() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ops)
}

// Mark notes something in the record.
func (f *FS) Mark(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, Op{Kind: Mark, Text: text})
}

// fault decides about one operation and is called with f.mu held.
func (f *FS) fault(k Kind, path string) (x Fault) {
	for i := range f.faults {
		y := &f.faults[i]
		if len(y.Ops) > 0 && !slices.Contains(y.Ops, k) {
			continue
		}
		if y.Path != "" {
			if ok, _ := filepath.Match(y.Path, filepath.Base(path)); !ok {
				continue
			}
		}
		if y.After > 0 {
			y.After--
			continue
		}
		if y.For == 0 {
			continue
		}
		if y.For > 0 {
			y.For--
		}
		f.hit++
		x.Err = max(x.Err, y.Err)
		x.Slow = max(x.Slow, y.Slow)
		x.Short, x.Lie = x.Short || y.Short, x.Lie || y.Lie
	}
	return x
}

// do performs one operation, or lets it fail, and records it when it was done.
// Whatever changes the disk is done one after another, in the recorded order.
func (f *FS) do(ctx context.Context, op Op, perform func(x Fault, op *Op) syscall.Errno) syscall.Errno {
	if op.Path == MarkFile {
		return perform(Fault{}, &op)
	}
	f.mu.Lock()
	x, healed := f.fault(op.Kind, op.Path), f.healed
	if x.Slow > 0 {
		f.mu.Unlock()
		select { // the others go on meanwhile
		case <-time.After(x.Slow):
		case <-healed:
		case <-ctx.Done():
		}
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if x.Err != 0 && !x.Short {
		return x.Err
	}
	if x.Lie && (op.Kind == Sync || op.Kind == SyncDir) {
		return 0
	}
	if errno := perform(x, &op); errno != 0 {
		return errno
	}
	if op.Kind != Read && op.Kind != Open {
		f.ops = append(f.ops, op)
	}
	return 0
}

// node is a file or a directory.
type node struct {
	fs.LoopbackNode
	fs *FS
}

// WrapChild implements fs.NodeWrapChilder.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: child.(*fs.LoopbackNode).RootData}, fs: n.fs}
}

func id(n *fs.Inode) ID {
	a := n.StableAttr()
	return ID{a.Ino, a.Gen}
}

func (n *node) id() ID { return id(n.EmbeddedInode()) }

func (n *node) below(name string) string { return filepath.Join(n.Path(nil), name) }

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (child *fs.Inode, fh fs.FileHandle, ff uint32, errno syscall.Errno) {
	path := n.below(name)
	_, err := os.Lstat(filepath.Join(n.fs.back, path))
	kind := Create
	if err == nil {
		kind = Open // it is there already
	}
	errno = n.fs.do(ctx, Op{Kind: kind, Dir: n.id(), Name: name, Path: path}, func(_ Fault, op *Op) syscall.Errno {
		child, fh, ff, errno = n.LoopbackNode.Create(ctx, name, flags, mode, out)
		if errno == 0 {
			op.File = id(child)
			fh = &file{fh.(*fs.LoopbackFile), child.Operations().(*node)}
		}
		return errno
	})
	return child, fh, ff, errno
}

// Open implements fs.NodeOpener.
func (n *node) Open(ctx context.Context, flags uint32) (fh fs.FileHandle, ff uint32, errno syscall.Errno) {
	errno = n.fs.do(ctx, Op{Kind: Open, File: n.id(), Path: n.Path(nil)}, func(Fault, *Op) syscall.Errno {
		fh, ff, errno = n.LoopbackNode.Open(ctx, flags&^syscall.O_TRUNC)
		if errno == 0 {
			fh = &file{fh.(*fs.LoopbackFile), n}
		}
		return errno
	})
	return fh, ff, errno
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.fs.do(ctx, Op{Kind: Mkdir, Dir: n.id(), Name: name, Path: n.below(name)}, func(_ Fault, op *Op) syscall.Errno {
		child, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		if errno == 0 {
			op.File = id(child)
		}
		return errno
	})
	return child, errno
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.fs.do(ctx, Op{Kind: Unlink, Dir: n.id(), Name: name, Path: n.below(name)}, func(Fault, *Op) syscall.Errno {
		return n.LoopbackNode.Unlink(ctx, name)
	})
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.fs.do(ctx, Op{Kind: Unlink, Dir: n.id(), Name: name, Path: n.below(name)}, func(Fault, *Op) syscall.Errno {
		return n.LoopbackNode.Rmdir(ctx, name)
	})
}

// Link implements fs.NodeLinker.
func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.fs.do(ctx, Op{Kind: Create, Dir: n.id(), Name: name, Path: n.below(name), File: id(target.EmbeddedInode())}, func(Fault, *Op) syscall.Errno {
		child, errno = n.LoopbackNode.Link(ctx, target, name, out)
		return errno
	})
	return child, errno
}

// Rename implements fs.NodeRenamer.
func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags&^1 != 0 { // RENAME_NOREPLACE alone
		return syscall.EINVAL
	}
	path := filepath.Join(to.EmbeddedInode().Path(nil), newName)
	return n.fs.do(ctx, Op{Kind: Rename, Dir: n.id(), Name: name, NewDir: id(to.EmbeddedInode()), NewName: newName, Path: path}, func(Fault, *Op) syscall.Errno {
		return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
	})
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(ctx context.Context, fh fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, ok := in.GetSize()
	if !ok {
		return n.LoopbackNode.Setattr(ctx, fh, in, out)
	}
	return n.fs.do(ctx, Op{Kind: Truncate, File: n.id(), Path: n.Path(nil), Off: int64(size)}, func(Fault, *Op) syscall.Errno {
		return n.LoopbackNode.Setattr(ctx, fh, in, out)
	})
}

// Fsync implements fs.NodeFsyncer for files and directories.
func (n *node) Fsync(ctx context.Context, _ fs.FileHandle, _ uint32) syscall.Errno {
	k := Sync
	if n.IsDir() {
		k = SyncDir
	}
	// What this process holds is as good as the disk: there is no power to cut.
	return n.fs.do(ctx, Op{Kind: k, File: n.id(), Path: n.Path(nil)}, func(Fault, *Op) syscall.Errno { return 0 })
}

// OpendirHandle implements fs.NodeOpendirHandler.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	fh, ff, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &dir{fh.(listing), n}, ff, 0
}

// listing is what the loopback gives for an open directory.
type listing interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// dir is an open directory.
type dir struct {
	listing
	n *node
}

// Fsyncdir implements fs.FileFsyncdirer.
func (d *dir) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	return d.n.Fsync(ctx, d, flags)
}

// file is an open file.
type file struct {
	*fs.LoopbackFile
	n *node
}

// PassthroughFd keeps the kernel from going round us.
func (*file) PassthroughFd() (int, bool) { return 0, false }

// Read implements fs.FileReader.
func (f *file) Read(ctx context.Context, buf []byte, off int64) (res fuse.ReadResult, errno syscall.Errno) {
	errno = f.n.fs.do(ctx, Op{Kind: Read, Path: f.n.Path(nil)}, func(Fault, *Op) syscall.Errno {
		res, errno = f.LoopbackFile.Read(ctx, buf, off)
		return errno
	})
	return res, errno
}

// Write implements fs.FileWriter.
func (f *file) Write(ctx context.Context, data []byte, off int64) (n uint32, errno syscall.Errno) {
	path := f.n.Path(nil)
	if path == MarkFile {
		f.n.fs.Mark(strings.TrimSpace(string(data)))
		return uint32(len(data)), 0
	}
	errno = f.n.fs.do(ctx, Op{Kind: Write, File: f.n.id(), Path: path, Off: off}, func(x Fault, op *Op) syscall.Errno {
		if x.Short {
			data = data[:(len(data)+1)/2]
		}
		n, errno = f.LoopbackFile.Write(ctx, data, off)
		op.Data = slices.Clone(data[:n])
		return errno
	})
	return n, errno
}

// Allocate implements fs.FileAllocater.
func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if mode != 0 {
		return syscall.EOPNOTSUPP // the callers have another way
	}
	path := f.n.Path(nil)
	return f.n.fs.do(ctx, Op{Kind: Grow, File: f.n.id(), Path: path, Off: int64(off + size)}, func(Fault, *Op) syscall.Errno {
		return f.LoopbackFile.Allocate(ctx, off, size, mode)
	})
}

// Fsync implements fs.FileFsyncer.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	return f.n.Fsync(ctx, f, flags)
}

func (o Op) String() string {
	return fmt.Sprintf("%s %s %d+%d %s %s", o.Kind, o.Path, o.Off, len(o.Data), o.Name, o.Text)
}
