package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"carbond/store/change"
	"carbond/store/durable"

	bolt "go.etcd.io/bbolt"
)

// TempSuffix ends the names of files that are not whole yet.
const TempSuffix = ".tmp"

// Create makes a file of which fill writes the first commit. After an error the
// name may be there nevertheless, see Remove.
func Create(path string, o Options, fill func(*bolt.Tx) error) (*File, error) {
	f, err := Make(path+TempSuffix, o)
	if err != nil {
		return nil, err
	}
	if err = o.fault("create"); err == nil {
		err = f.Update(fill)
	}
	if err == nil {
		o.crash("created")
		err = f.Rename(path)
	}
	if err == nil {
		err = o.fault("named")
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(path + TempSuffix)
		return nil, err
	}
	o.crash("named")
	return f, nil
}

// Make opens a new file, in place of whatever has the name.
func Make(path string, o Options) (*File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove left-over %s: %w", path, err)
	}
	loaded := o.Loaded
	o.Loaded = nil
	f := &File{path: path, opt: o}
	if err := f.open(true); err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	f.opt.Loaded = loaded
	return f, nil
}

// Rename gives the open file a name for good, in place of what has it.
func (f *File) Rename(path string) error {
	if err := os.Rename(f.path, path); err != nil {
		return err
	}
	f.path = path // has the name, whether it lasts or not
	return durable.SyncDir(filepath.Dir(path))
}

// Remove takes a file away for good. It may be gone already.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// Compact rewrites the file without what is free in it, in commits of about
// batch bytes. After an error the file is as it was.
func (f *File) Compact(batch int64) error {
	f.life.Lock()
	defer f.life.Unlock()
	if f.db == nil {
		return change.ErrClosed
	}
	o := f.opt
	o.Loaded = nil
	to, err := Make(f.path+TempSuffix, o)
	if err != nil {
		return err
	}
	to.exit.armed.Store(true) // nothing of it is worth a way back
	err = guard(f.path, f.db, to.db, func() error { return bolt.Compact(to.db, f.db, batch) })
	to.exit.armed.Store(false)
	if err == nil && !o.NoSync {
		err = to.db.Sync()
	}
	if err == nil {
		err = os.Rename(to.path, f.path)
	}
	if err != nil {
		_ = to.Close()
		_ = os.Remove(to.path)
		return err
	}
	old := f.db
	f.db, f.exit = to.db, to.exit
	return errors.Join(old.Close(), durable.SyncDir(filepath.Dir(f.path)))
}

func (o Options) fault(point string) error {
	if o.Fault == nil {
		return nil
	}
	return o.Fault(point)
}

func (o Options) crash(point string) {
	if o.Crash != nil {
		o.Crash(point)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrChecksum means that a value is not the one that was written.
var ErrChecksum = errors.New("checksum does not match")

// Protect returns v behind its CRC-32C, which covers key too; key may be nil.
func Protect(key, v []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v)
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(v)), sum), v...)
}

// Unprotect checks what Protect has put in front, and takes it off.
func Unprotect(key, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return nil, errors.New("value is missing or cut short")
	}
	if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, v[4:]) != binary.BigEndian.Uint32(v) {
		return nil, ErrChecksum
	}
	return v[4:], nil
}
