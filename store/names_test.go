package store_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"carbond/store"
)

// A directory whose names cannot be made durable is not opened.
func TestNamesAreSynced(t *testing.T) {
	dir := t.TempDir()
	_, err := store.Open(dir, store.Options{Fault: func(point string) error {
		if point == "store.named" {
			return syscall.EIO
		}
		return nil
	}})
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("open: %v", err)
	}
	open(t, dir, store.Options{}).Close()
}
