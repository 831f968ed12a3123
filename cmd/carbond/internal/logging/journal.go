package logging

import (
	"fmt"
	"os"
	"syscall"
)

// ToJournal reports whether f is the stream that journald reads, as
// $JOURNAL_STREAM ("device:inode") says.
func ToJournal(f *os.File, stream string) bool {
	if f == nil || stream == "" {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
