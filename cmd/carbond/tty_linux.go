package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminal reports whether somebody sits at f. /dev/null is a character device
// too, so the kernel is asked for terminal settings.
func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
