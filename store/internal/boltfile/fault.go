package boltfile

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	bolt "go.etcd.io/bbolt"
)

// Error is what is wrong with a file.
type Error struct {
	File string
	Byte int64 // place in the file, -1 when it is not known
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Byte < 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s, byte %d: %v", e.File, e.Byte, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrUnreadable means that the disk did not give a page of a file.
var ErrUnreadable = errors.New("the page cannot be read: the disk gave an error, or the file was cut short")

// guard runs fn and turns a panic or a memory fault inside bbolt into an *Error.
// The locks that bbolt held at that place are given back: fn reads from the one
// database and writes to the other, which may be the same.
func guard(path string, from, to *bolt.DB, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		p := recover()
		debug.SetPanicOnFault(old)
		if l, ok := p.(leave); ok {
			err = l.err
		} else if p != nil {
			err = trouble(path, p, mapped(from))
			unlock(from, to)
		}
	}()
	return fn()
}

// guarded is guard for code that reads data, a mapping of the file, by itself.
func guarded(path string, data []byte, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		p := recover()
		debug.SetPanicOnFault(old)
		if p != nil {
			err = trouble(path, p, data)
		}
	}()
	return fn()
}

// trouble makes an error of a panic while a file was mapped as data.
func trouble(path string, p any, data []byte) error {
	e := &Error{File: path, Byte: -1, Err: fmt.Errorf("bbolt: %v", p)}
	if fault, ok := p.(interface{ Addr() uintptr }); ok {
		e.Err = ErrUnreadable
		e.Byte = within(data, fault.Addr())
	}
	return e
}

// within returns where an address lies in a mapping, -1 when it does not.
func within(data []byte, addr uintptr) int64 {
	if len(data) > 0 {
		if at := addr - uintptr(unsafe.Pointer(&data[0])); at < uintptr(len(data)) {
			return int64(at)
		}
	}
	return -1
}

// unlock gives back what bbolt locks while it begins a transaction, for a panic
// that went through there: nobody else will.
func unlock(from, to *bolt.DB) {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
	for more := true; more; {
		var at runtime.Frame
		at, more = frames.Next()
		switch {
		case strings.HasSuffix(at.Function, "bbolt.(*DB).beginTx"):
			inside[sync.RWMutex](from, "mmaplock").RUnlock()
			inside[sync.Mutex](from, "metalock").Unlock()
		case strings.HasSuffix(at.Function, "bbolt.(*DB).beginRWTx"):
			inside[sync.Mutex](to, "rwlock").Unlock()
		}
	}
}

// inside returns a field of bbolt's that has no name outside. Tests hold that it
// is there and means what it did.
func inside[T any](db *bolt.DB, field string) *T {
	return (*T)(reflect.ValueOf(db).Elem().FieldByName(field).Addr().UnsafePointer())
}

// mapped returns the mapping of a file, nil when there is none.
func mapped(db *bolt.DB) []byte {
	if db == nil {
		return nil
	}
	return *inside[[]byte](db, "dataref")
}

// exit is a logger that leaves a commit at bbolt's first word of an error, before
// bbolt rolls back.
type exit struct {
	bolt.Logger
	armed atomic.Bool // while a commit runs
}

// leave is the panic of an exit.
type leave struct{ err error }

// Errorf implements bolt.Logger.
func (e *exit) Errorf(format string, v ...any) {
	if !e.armed.Swap(false) {
		return
	}
	if n := len(v); n > 0 {
		if err, ok := v[n-1].(error); ok {
			panic(leave{err})
		}
	}
	panic(leave{fmt.Errorf(format, v...)})
}
