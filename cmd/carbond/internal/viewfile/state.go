package viewfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"carbond/store/change"
	"carbond/store/durable"
)

const (
	stateName   = "views.state.json"
	lockName    = "views.lock"
	stateFormat = 1
)

// The phases of a directory.
const (
	phaseFollow = "follow" // the files hold everything up to the offset
	phaseRetire = "retire" // the files are to be moved aside
	phaseFill   = "fill"   // the files are empty, or hold part of a fill
)

// state is the state file.
type state struct {
	Format int           `json:"format"`
	Phase  string        `json:"phase"`
	Offset change.Offset `json:"offset"`
	// History is the id of the changelog's; Mark tells changelogs apart in files of
	// a version that noted none.
	History string                `json:"history"`
	Mark    string                `json:"mark"`
	Files   map[change.View]place `json:"files"`
}

// place is a file as of the last sync.
type place struct {
	Bytes  int64 `json:"bytes"`
	Number int   `json:"number"` // that the file gets when it is rotated
}

// dir is an open directory.
type dir struct {
	path  string
	lock  *os.File
	files map[change.View]*file
	phase string // in the state file, "" while this session has not written it
	line  liner
	crash func(point string)
}

// openDir makes the directory if need be and locks it.
func openDir(path string) (*dir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock %s: %w: another carbond writes view files there; give each its own views.jsonl_dir", path, err)
	}
	return &dir{path: path, lock: lock, files: map[change.View]*file{}}, nil
}

// close gives up whatever is not synced.
func (d *dir) close() {
	for _, f := range d.files {
		_ = f.f.Close()
	}
	_ = d.lock.Close()
}

func (d *dir) current(v change.View) string { return filepath.Join(d.path, string(v)+".jsonl") }

func (d *dir) rotated(v change.View, n int) string {
	return filepath.Join(d.path, fmt.Sprintf("%s.%06d.jsonl", v, n))
}

// numbers returns the numbers of the rotated files of a view.
func (d *dir) numbers(v change.View) ([]int, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		s, ok := strings.CutPrefix(e.Name(), string(v)+".")
		if !ok {
			continue
		}
		if s, ok = strings.CutSuffix(s, ".jsonl"); !ok {
			continue
		}
		if n, err := strconv.Atoi(s); err == nil && n > 0 && d.rotated(v, n) == filepath.Join(d.path, e.Name()) {
			out = append(out, n)
		}
	}
	return out, nil
}

// load reads the state file. Without one, or with one that cannot be read as
// such, whatever is in the directory is moved aside.
func (d *dir) load() (state, error) {
	b, err := os.ReadFile(filepath.Join(d.path, stateName))
	st := state{}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.unknown()
	case err != nil:
		return st, err
	case json.Unmarshal(b, &st) != nil || st.Format < 1 || len(st.Files) != len(change.Views()):
		return d.unknown()
	case st.Format > stateFormat:
		return st, fmt.Errorf("%s has format %d, newer than this carbond understands; use another views.jsonl_dir", stateName, st.Format)
	}
	return st, nil
}

func (d *dir) unknown() (state, error) {
	st := state{Format: stateFormat, Phase: phaseRetire, Files: map[change.View]place{}}
	for _, v := range change.Views() {
		ns, err := d.numbers(v)
		if err != nil {
			return st, err
		}
		last := 0
		for _, n := range ns {
			last = max(last, n)
		}
		st.Files[v] = place{Number: last + 1}
	}
	return st, d.save(st)
}

// settle brings files and state together after whatever ended the last session:
// afterwards the phase is follow or fill, and the files are as the state says.
func (w *Writer) settle(d *dir, st state) (state, error) {
	if st.Phase == phaseFollow {
		why, err := d.repair(&st)
		if err == nil && why == "" && st.History != "" {
			if herr := w.src.History().Check(st.History, st.Offset); herr != nil {
				why = herr.Error()
			}
		}
		if err == nil && why == "" && st.Mark != "" {
			if m := mark(w.src, st.Offset); m != "" && m != st.Mark {
				why = "the files belong to another changelog"
			}
		}
		if err == nil && why != "" {
			err = w.refill(d, st, why)
		}
		return st, err
	}
	if st.Phase == phaseRetire {
		if err := d.retire(&st); err != nil {
			return st, err
		}
	}
	for _, v := range change.Views() {
		p := st.Files[v]
		p.Bytes = 0
		st.Files[v] = p
		if err := os.Truncate(d.current(v), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return st, err
		}
	}
	return st, nil
}

// repair cuts the files to the lengths of the last sync and finishes a rotation
// that was interrupted. why says what does not fit, "" for nothing.
func (d *dir) repair(st *state) (why string, err error) {
	for _, v := range change.Views() {
		p := st.Files[v]
		if _, err := os.Lstat(d.rotated(v, p.Number)); err == nil {
			p = place{Number: p.Number + 1}
			st.Files[v] = p
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		info, err := os.Stat(d.current(v))
		switch {
		case errors.Is(err, fs.ErrNotExist) && p.Bytes == 0:
			continue
		case errors.Is(err, fs.ErrNotExist):
			why = fmt.Sprintf("%s is missing", d.current(v))
		case err != nil:
			return "", err
		case info.Size() < p.Bytes:
			why = fmt.Sprintf("%s has %d bytes, %d were written", d.current(v), info.Size(), p.Bytes)
		case info.Size() > p.Bytes:
			if err := os.Truncate(d.current(v), p.Bytes); err != nil {
				return "", err
			}
		}
	}
	return why, nil
}

// retire moves what is there aside and then says that a fill may begin.
func (d *dir) retire(st *state) error {
	for _, v := range change.Views() {
		p := st.Files[v]
		_, err := os.Lstat(d.rotated(v, p.Number))
		if errors.Is(err, fs.ErrNotExist) {
			info, serr := os.Stat(d.current(v))
			if errors.Is(serr, fs.ErrNotExist) || serr == nil && info.Size() == 0 {
				st.Files[v] = place{Number: p.Number}
				continue
			}
			if err = os.Rename(d.current(v), d.rotated(v, p.Number)); err != nil {
				return err
			}
			d.crash("retired " + string(v))
		}
		if err != nil {
			return err
		}
		st.Files[v] = place{Number: p.Number + 1}
	}
	if err := durable.SyncDir(d.path); err != nil {
		return err
	}
	st.Phase, st.Offset, st.Mark = phaseFill, 0, ""
	return d.save(*st)
}

// save replaces the state file.
func (d *dir) save(st state) error {
	st.Format = stateFormat
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	path := filepath.Join(d.path, stateName)
	err = durable.Write(path+".tmp", append(b, '\n'), 0o640)
	d.crash("state written")
	if err == nil {
		err = durable.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	d.crash("state saved")
	d.phase = st.Phase
	return nil
}
