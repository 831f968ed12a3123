package viewfile

import (
	"bufio"
	"os"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/durable"
)

// file is one open view file.
type file struct {
	f     *os.File
	w     *bufio.Writer
	size  int64 // with what is in w
	dirty bool  // grew since the last fsync
}

// open opens the files at the lengths of the state.
func (d *dir) open(st *state) error {
	for _, v := range change.Views() {
		if err := d.openFile(v, st.Files[v].Bytes); err != nil {
			return err
		}
	}
	return durable.SyncDir(d.path)
}

func (d *dir) openFile(v change.View, size int64) error {
	f, err := os.OpenFile(d.current(v), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	d.files[v] = &file{f: f, w: bufio.NewWriterSize(f, 64<<10), size: size}
	return nil
}

// fill writes every row of the views.
func (d *dir) fill(s *store.Snapshot) error {
	ms := millis(s.CommitTime())
	x := change.Delta{Diff: 1}
	for _, v := range change.Views() {
		for row := range change.Rows(s, v, "", "") {
			x.SetRow(row)
			if _, err := d.put(&x, ms); err != nil {
				return err
			}
		}
	}
	return d.flush()
}

// append writes the deltas of a transaction and returns the number of bytes.
func (d *dir) append(t *change.ViewTxn) (n int, err error) {
	ms := millis(t.CommitTime)
	t.All(func(x change.Delta) bool {
		if x.News != nil && x.Window != "" {
			return true // of one source's newest; the file is about the newest of all
		}
		var k int
		k, err = d.put(&x, ms)
		n += k
		return err == nil
	})
	return n, err
}

// put writes one line.
func (d *dir) put(x *change.Delta, ms int64) (int, error) {
	view, _ := x.Row()
	f := d.files[view.Name]
	line := d.line.delta(x, ms)
	n, err := f.w.Write(line)
	f.size += int64(n)
	f.dirty = true
	return n, err
}

// flush hands what is buffered to the system, where readers see it.
func (d *dir) flush() error {
	for _, f := range d.files {
		if err := f.w.Flush(); err != nil {
			return err
		}
	}
	d.crash("flushed")
	return nil
}

// dirty reports whether there is something to fsync.
func (d *dir) dirty() bool {
	for _, f := range d.files {
		if f.dirty {
			return true
		}
	}
	return false
}

// sync brings the files to the disk.
func (d *dir) sync() error {
	if err := d.flush(); err != nil {
		return err
	}
	for _, f := range d.files {
		if !f.dirty {
			continue
		}
		if err := f.f.Sync(); err != nil {
			return err
		}
		f.dirty = false
		d.crash("synced a file")
	}
	return nil
}

// full reports whether a file is to be rotated.
func (d *dir) full(limit int64) bool {
	for _, f := range d.files {
		if f.size >= limit {
			return true
		}
	}
	return false
}

// rotate renames the full files and opens new ones. Callers have synced. The new
// name of a file is durable before another file takes the old one: a power cut
// could keep the second alone, and the rows of the first would be gone.
func (d *dir) rotate(st *state, limit int64) (n int, err error) {
	var full []change.View
	for _, v := range change.Views() {
		f := d.files[v]
		if f.size < limit {
			continue
		}
		if err := os.Rename(d.current(v), d.rotated(v, st.Files[v].Number)); err != nil {
			return 0, err
		}
		d.crash("renamed")
		if err := f.f.Close(); err != nil {
			return 0, err
		}
		full = append(full, v)
	}
	if err := durable.SyncDir(d.path); err != nil {
		return 0, err
	}
	for _, v := range full {
		if err := d.openFile(v, 0); err != nil {
			return 0, err
		}
		st.Files[v] = place{Number: st.Files[v].Number + 1}
	}
	return len(full), durable.SyncDir(d.path)
}

// prune removes the oldest rotated files beyond keep.
func (d *dir) prune(st state, keep int) error {
	for _, v := range change.Views() {
		ns, err := d.numbers(v)
		if err != nil {
			return err
		}
		for _, n := range ns {
			if n+keep < st.Files[v].Number {
				if err := os.Remove(d.rotated(v, n)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
