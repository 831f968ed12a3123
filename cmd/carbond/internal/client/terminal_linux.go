package client

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

// brokenPipe reports whether nobody can read any more what is written to f.
func brokenPipe(f *os.File) bool {
	broken := false
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		broken = err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
	})
	return broken
}

// size returns the columns and lines of a terminal, 0 when it does not say.
func size(f *os.File) (columns, lines int) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(ws.Col), int(ws.Row)
}
