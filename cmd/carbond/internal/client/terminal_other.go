//go:build !linux

package client

import "os"

// terminal reports whether f looks like a terminal.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}

// brokenPipe cannot tell here; the next write will.
func brokenPipe(*os.File) bool { return false }

// size is not known here.
func size(*os.File) (columns, lines int) { return 0, 0 }
