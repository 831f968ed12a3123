// Package durable writes small files and names so that they outlast a power cut.
// A new content stands beside its place until all of it is on disk, and takes the
// place in one step: afterwards there is the old content or the new, never a part.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace makes b the content of the file at path, readable by perm if it is new.
// A run that was killed may leave path.tmp behind; the next one takes it over.
func Replace(path string, b []byte, perm fs.FileMode) error {
	if err := Write(path+".tmp", b, perm); err != nil {
		return err
	}
	return Rename(path+".tmp", path)
}

// Write makes b the durable content of a file whose name need not be durable.
func Write(path string, b []byte, perm fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Rename gives a file of the same folder another name for good, in place of what
// has it.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
