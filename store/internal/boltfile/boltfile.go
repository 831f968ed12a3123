package boltfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"carbond/store/change"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// Errors of this package.
var (
	// ErrEmpty is wrapped by the error of a file without a byte.
	ErrEmpty = errors.New("the file is empty")
	// ErrTooNew is wrapped when a file was written by a newer carbond.
	ErrTooNew = errors.New("format is newer than this carbond understands")
)

// Options say how a file is used.
type Options struct {
	ReadOnly bool
	NoSync   bool // skips fsync: for tests of everything but durability
	Stats    bool // counts free pages, see Free
	Map      int  // bytes of address space to begin with; more are taken at need
	Grow     int  // step in which the file grows, 0 for bbolt's own
	// Distrust reads a file from the disk, for one whose last commit failed: what
	// the kernel remembers of it may never have got there.
	Distrust bool
	// Loaded is called with a transaction whenever the file was opened, before
	// anybody else has one.
	Loaded func(*bolt.Tx) error
	// Crash and Fault are called at named points of Create, for tests.
	Crash func(point string)
	Fault func(point string) error
}

// File is an open bbolt file. It is safe for concurrent use.
type File struct {
	path    string
	opt     Options
	spent   atomic.Int64 // bytes touched since the mapping was given back
	free    atomic.Int64 // see Free
	unknown atomic.Bool  // a commit failed: what the disk holds is unknown

	life sync.RWMutex // shared by transactions; guards what follows
	db   *bolt.DB     // nil when it is closed, or could not be opened again
	exit *exit
	why  error // of a db that is nil
}

// Open opens a file that exists. Damage is an *Error.
func Open(path string, o Options) (*File, error) {
	f := &File{path: path, opt: o}
	if err := f.open(false); err != nil {
		return nil, err
	}
	return f, nil
}

// Path returns the name that the file was opened or created under.
func (f *File) Path() string { return f.path }

// open maps the file; db is set when it returns nil.
func (f *File) open(fresh bool) error {
	if err := f.ahead(fresh); err != nil {
		return err
	}
	var handle *os.File
	f.exit = &exit{Logger: &bolt.DefaultLogger{Logger: log.New(io.Discard, "", 0)}}
	o := &bolt.Options{
		Timeout: time.Second, ReadOnly: f.opt.ReadOnly, NoSync: f.opt.NoSync,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: f.opt.Map, NoStatistics: !f.opt.Stats, Logger: f.exit,
		OpenFile: func(name string, flag int, mode os.FileMode) (h *os.File, err error) {
			if !fresh {
				flag &^= os.O_CREATE // bbolt would begin a new file in the place of one that is gone
			}
			handle, err = os.OpenFile(name, flag, mode)
			return handle, err
		},
	}
	var db *bolt.DB
	err := guard(f.path, nil, nil, func() (err error) {
		db, err = bolt.Open(f.path, 0o640, o)
		return err
	})
	if err != nil {
		if handle != nil { // a fault in the middle: the lock on the file would outlive the handle
			_ = unix.Flock(int(handle.Fd()), unix.LOCK_UN)
			_ = handle.Close()
		}
		return f.damaged(err)
	}
	if f.opt.Grow > 0 {
		db.AllocSize = f.opt.Grow
	}
	if !f.opt.ReadOnly && !f.opt.NoSync {
		// A process that was killed inside its last commit may have left it in
		// the kernel's memory alone, and it is about to be called durable.
		err = db.Sync()
	}
	f.db = db
	if err == nil && f.opt.Loaded != nil {
		err = f.transact(false, f.opt.Loaded)
	}
	if err != nil {
		_ = db.Close()
		f.db = nil
	}
	return err
}

// ahead looks at the file before bbolt does.
func (f *File) ahead(fresh bool) error {
	if fresh {
		return nil
	}
	fi, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if fi.Size() == 0 {
		return &Error{File: f.path, Byte: 0, Err: ErrEmpty}
	}
	if f.opt.Distrust && !f.opt.ReadOnly && !f.opt.NoSync {
		if err := forget(f.path); err != nil {
			return err
		}
	}
	if f.opt.ReadOnly {
		return nil
	}
	return f.damaged(Probe(f.path))
}

// forget makes the kernel read a file from the disk again. After a sync that
// failed it holds pages for clean that the disk never took.
func forget(path string) error {
	h, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Sync(); err != nil {
		return err
	}
	_ = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_DONTNEED) // not every file system can
	return nil
}

// damaged separates trouble of the file from trouble of the machine.
func (f *File) damaged(err error) error {
	var e *Error
	var path *fs.PathError
	var call *os.SyscallError
	var errno unix.Errno
	if err == nil || errors.As(err, &e) || errors.As(err, &path) || errors.As(err, &call) || errors.As(err, &errno) || errors.Is(err, berrors.ErrTimeout) {
		return err
	}
	return &Error{File: f.path, Byte: -1, Err: err}
}

// View runs fn in a transaction that reads.
func (f *File) View(fn func(*bolt.Tx) error) error {
	f.life.RLock()
	defer f.life.RUnlock()
	return f.transact(false, fn)
}

// Update runs fn in a transaction that writes, and commits it. After a commit
// that failed the next Update opens the file again.
func (f *File) Update(fn func(*bolt.Tx) error) error {
	if err := f.Ready(); err != nil {
		return err
	}
	f.life.RLock()
	defer f.life.RUnlock()
	return f.transact(true, fn)
}

// transact runs one transaction. Callers hold life.
//
// It rolls back by itself: bbolt's own ways (DB.Update after a panic, Tx.Commit
// after an error) walk the file on a goroutine of their own, where a page that
// cannot be read ends the process. The file is opened again instead.
func (f *File) transact(write bool, fn func(*bolt.Tx) error) error {
	if f.db == nil {
		if f.why != nil {
			return f.why
		}
		return change.ErrClosed
	}
	var tx *bolt.Tx
	defer func() {
		f.exit.armed.Store(false)
		if tx != nil {
			_ = tx.Rollback() // says that it is closed after a commit
		}
		if write && f.opt.Stats {
			f.free.Store(int64(f.db.Stats().FreePageN) * int64(*inside[int](f.db, "pageSize")))
		}
	}()
	committing := false
	err := guard(f.path, f.db, f.db, func() (err error) {
		if tx, err = f.db.Begin(write); err != nil {
			return err
		}
		if err = fn(tx); err != nil || !write {
			return err
		}
		committing = true
		f.exit.armed.Store(true)
		return tx.Commit()
	})
	var e *Error
	if write && err != nil && (committing || tx == nil || errors.As(err, &e)) {
		f.unknown.Store(true)
	}
	return err
}

// Ready opens the file again when a commit has failed. Who writes what depends on
// the content calls it first.
func (f *File) Ready() error {
	if !f.unknown.Load() {
		return nil
	}
	return f.Reopen()
}

// Reopen closes the file and opens it from the disk. Transactions wait.
func (f *File) Reopen() error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.db == nil && f.why == nil {
		return change.ErrClosed
	}
	if f.db != nil {
		_ = f.db.Close() // whatever it says, the file is looked at from the beginning
		f.db = nil
	}
	f.opt.Distrust = true
	if f.why = f.open(false); f.why != nil {
		f.why = fmt.Errorf("open %s again: %w", f.path, f.why)
		return f.why
	}
	f.unknown.Store(false)
	return nil
}

// Close waits for transactions and closes the file.
func (f *File) Close() error {
	f.life.Lock()
	defer f.life.Unlock()
	f.why = nil
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	return db.Close()
}

// Place returns the byte of the file at which a value stands that a transaction
// gave, -1 for none.
func (f *File) Place(v []byte) int64 {
	if len(v) == 0 {
		return -1
	}
	return within(mapped(f.db), uintptr(unsafe.Pointer(&v[0])))
}

// Check walks the file as bbolt does and reports what is wrong with it.
func (f *File) Check() (errs []error) {
	err := f.View(func(tx *bolt.Tx) error {
		if err := Probe(f.path); err != nil {
			return f.damaged(err)
		}
		for err := range tx.Check() {
			errs = append(errs, &Error{File: f.path, Byte: -1, Err: fmt.Errorf("bbolt: %w", err)})
		}
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Free returns the number of bytes in the file that hold nothing, as of the last
// transaction that wrote. It waits for nobody.
func (f *File) Free() int64 { return f.free.Load() }
