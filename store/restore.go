package store

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"carbond/store/durable"
	"carbond/store/internal/changelog"
	"carbond/store/internal/group"
)

// ErrRestoring means that a restore into the directory did not end.
var ErrRestoring = errors.New("a restore into this directory did not end: run `carbond restore` again, or empty the directory")

// restoringName is where a restore unpacks. While it is there, the directory is
// not whole, and nothing opens it.
const restoringName = "restoring"

// Contents is what a data directory holds.
type Contents int

// What Holds returns.
const (
	HoldsNothing    Contents = iota // no changelog; or no directory
	HoldsData                       // a changelog
	HoldsUnfinished                 // what a restore or a join has left that did not end
)

// Holds looks what a data directory holds, without opening it.
func Holds(dir string) (Contents, error) {
	if unfinished(dir) != nil {
		return HoldsUnfinished, nil
	}
	entries, err := os.ReadDir(logDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return HoldsNothing, nil
	}
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return changelog.IsSegment(e.Name()) }) {
		return HoldsData, nil
	}
	return HoldsNothing, nil
}

// unfinished makes sure that no restore has left a directory half made.
func unfinished(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, restoringName)); err == nil {
		return fmt.Errorf("%s: %w", dir, ErrRestoring)
	}
	return nil
}

// Restore unpacks a backup into dir, which must be empty or missing, and may be a
// mount point. It compares every file with the manifest, checks the whole as Check
// does, and begins a history of its own: what follows gets offsets that no other
// copy of the data has used. It returns what the backup says of itself. A restore
// that fails leaves dir as it was; one that was killed leaves what cannot be
// opened, and can be run again.
func Restore(dir string, r io.Reader, opt Options) (*Manifest, *Report, error) {
	m, report, err := restore(dir, r, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("restore: %w", err)
	}
	return m, report, nil
}

func restore(dir string, r io.Reader, opt Options) (m *Manifest, report *Report, err error) {
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, err
	}
	defer lock.Close()
	if err := checkEmpty(dir); err != nil {
		return nil, nil, err
	}
	s := &Store{dir: dir, opt: opt}
	defer func() {
		if err != nil {
			_ = removeUnfinished(dir)
			if missing != nil {
				_ = os.Remove(filepath.Join(dir, "LOCK"))
				_ = os.Remove(dir) // when nothing else is in it
			}
		}
	}()
	tmp := filepath.Join(dir, restoringName)
	if m, report, err = s.take(tmp, r); err != nil {
		return nil, nil, err
	}
	if err := s.fork(tmp, report); err != nil {
		return nil, nil, err
	}
	return m, report, s.moveIn(tmp)
}

// Join makes dir a copy of the directory that a backup is of, with its history: who reads
// the same source from there on has the same log. What dir holds is replaced when
// the backup is whole and checked; an error before that leaves it as it was. A join
// that was killed leaves what nothing opens (ErrRestoring), and can be run again.
func Join(dir string, r io.Reader, opt Options) (*Manifest, *Report, error) {
	m, report, err := join(dir, r, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("join: %w", err)
	}
	return m, report, nil
}

func join(dir string, r io.Reader, opt Options) (*Manifest, *Report, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, err
	}
	defer lock.Close()
	s := &Store{dir: dir, opt: opt}
	tmp := filepath.Join(dir, restoringName)
	if err := os.RemoveAll(tmp); err != nil { // what one that was killed has left
		return nil, nil, err
	}
	m, report, err := s.take(tmp, r)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(tmp))
	}
	for _, name := range moved {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return nil, nil, err
		}
	}
	s.crash("join.cleared")
	return m, report, s.moveIn(tmp)
}

// take unpacks a backup and checks it.
func (s *Store) take(tmp string, r io.Reader) (m *Manifest, report *Report, err error) {
	if err := os.MkdirAll(logDir(tmp), 0o750); err != nil {
		return nil, nil, err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return nil, nil, err
	}
	s.crash("restore.begun")
	if m, err = unpack(tmp, r, s.crash); err != nil {
		return nil, nil, err
	}
	if report, err = inspect(tmp, m); err != nil {
		return nil, nil, err
	}
	s.crash("restore.checked")
	return m, report, nil
}

// moved are the names that a restore gives to what it has unpacked.
var moved = []string{sourceName, groupsName, checkpointName, logName}

// checkEmpty makes sure that nothing is lost by a restore into dir. What a restore
// that was killed has left is removed.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	remains := unfinished(dir) != nil
	for _, e := range entries {
		switch name := e.Name(); {
		case name == "LOCK", name == "lost+found", name == restoringName:
		case remains && slices.Contains(moved, name):
		default:
			return fmt.Errorf("%s is not empty; move it aside first: it holds %s", dir, name)
		}
	}
	return removeUnfinished(dir)
}

// removeUnfinished removes what a restore has made, and last what keeps the rest from
// being opened.
func removeUnfinished(dir string) error {
	if unfinished(dir) == nil {
		return nil
	}
	for _, name := range moved {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(dir, restoringName))
}

// unpack writes the files of an archive below tmp and compares them with its
// manifest, wherever that stands.
func unpack(tmp string, r io.Reader, crash func(string)) (*Manifest, error) {
	t := tar.NewReader(r)
	var m *Manifest
	got := map[string]BackupFile{}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive: %w", err)
		}
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag == tar.TypeDir && (name == logName || name == "."):
		case name == manifestName && m != nil:
			return nil, errors.New("archive has two manifests")
		case name == manifestName:
			if m, err = readManifest(t); err != nil {
				return nil, err
			}
		case h.Typeflag != tar.TypeReg || !backupFile(name):
			if m == nil && len(got) == 0 {
				return nil, fmt.Errorf("archive begins with %q: this is not a backup of carbond", h.Name)
			}
			return nil, fmt.Errorf("archive holds %q, which is not part of a backup", h.Name)
		default:
			if got[name], err = writeFile(tmp, name, t); err != nil {
				return nil, err
			}
			crash("restore.file")
		}
	}
	if err := checkEnd(r); err != nil {
		return nil, err
	}
	if m == nil && len(got) == 0 {
		return nil, errors.New("archive is empty")
	}
	if m == nil {
		return nil, fmt.Errorf("archive has no %s: it was cut short", manifestName)
	}
	return m, errors.Join(m.compare(got), durable.SyncDir(logDir(tmp)), durable.SyncDir(tmp))
}

// checkEnd makes sure that behind an archive's end there is only padding.
func checkEnd(r io.Reader) error {
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		if len(bytes.Trim(b[:n], "\x00")) > 0 {
			return errors.New("archive goes on behind its end: it is damaged, or two were joined")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
	}
}

func readManifest(r io.Reader) (*Manifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m := &Manifest{}
	var head struct {
		Format *int `json:"format"`
	}
	switch err := json.Unmarshal(b, &head); {
	case len(b) > maxManifest:
		return nil, fmt.Errorf("manifest has more than %d bytes", maxManifest)
	case err != nil:
		return nil, fmt.Errorf("read manifest: %w", err)
	case head.Format == nil:
		return nil, errors.New("manifest names no format: it is damaged, or not one of carbond's")
	case *head.Format > backupFormat:
		return nil, fmt.Errorf("backup format %d: %w", *head.Format, ErrTooNew)
	case *head.Format < 1:
		return nil, fmt.Errorf("manifest names format %d, which there never was: it is damaged", *head.Format)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if m.Format >= 2 && (len(m.Files) == 0 || m.History.ID == "") {
		return nil, errors.New("manifest has no list of files, or no history id: it is damaged")
	}
	return m, nil
}

func backupFile(name string) bool {
	seg, inLog := strings.CutPrefix(name, logName+"/")
	return inLog && changelog.IsSegment(seg) || !inLog && name != logName && slices.Contains(moved, name)
}

func writeFile(tmp, name string, r io.Reader) (BackupFile, error) {
	p := filepath.Join(tmp, filepath.FromSlash(name))
	f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return BackupFile{}, fmt.Errorf("archive holds %s twice", name)
	}
	if err != nil {
		return BackupFile{}, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), r)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return BackupFile{}, fmt.Errorf("write %s: %w", p, err)
	}
	return BackupFile{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// compare says what of the files differs from the manifest. That of format 1 has
// no list, but two files are in every backup.
func (m *Manifest) compare(got map[string]BackupFile) error {
	var problems []error
	problem := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("the archive is damaged: %s %s", name, fmt.Sprintf(format, args...)))
	}
	want := m.Files
	if m.Format < 2 {
		want = []BackupFile{got[groupsName], got[checkpointName]}
		want[0].Name, want[1].Name = groupsName, checkpointName
	}
	listed := map[string]bool{}
	for _, w := range want {
		listed[w.Name] = true
		switch g, ok := got[w.Name]; {
		case !ok:
			problem(w.Name, "is missing")
		case g.Size != w.Size:
			problem(w.Name, "has %d bytes, the manifest says %d", g.Size, w.Size)
		case g.SHA256 != w.SHA256:
			problem(w.Name, "is not as it was: its checksum is %s, the manifest says %s", g.SHA256, w.SHA256)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if m.Format >= 2 && !listed[name] {
			problem(name, "is not in the manifest")
		}
	}
	return errors.Join(problems...)
}

// inspect checks what was unpacked, as fsck does and against the manifest.
func inspect(tmp string, m *Manifest) (*Report, error) {
	r, err := Check(tmp)
	switch {
	case err != nil:
		return nil, err
	case len(r.Problems) > 0:
		return nil, fmt.Errorf("the backup is damaged: %w", errors.Join(r.Problems...))
	case r.Oldest != m.Oldest:
		return nil, fmt.Errorf("the archive is damaged: its log begins at offset %d, the manifest says %d", r.Oldest, m.Oldest)
	case r.Position.Offset < m.Offset:
		return nil, fmt.Errorf("the archive is damaged: it ends at offset %d, its manifest says %d: it was cut short", r.Position.Offset, m.Offset)
	case m.Format >= 2 && r.History.ID != m.History.ID:
		return nil, fmt.Errorf("the archive is damaged: its log has history %s, the manifest says %s", r.History.ID, m.History.ID)
	}
	return r, nil
}

// fork begins the history of the restored copy, and generations of its groups.
func (s *Store) fork(tmp string, r *Report) (err error) {
	l, err := changelog.Open(logDir(tmp), s.logOptions())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	first := s.opt.First
	if first == 0 {
		first = firstOffset(time.Now(), l.Tail().Next)
	}
	if err := l.Fork(first); err != nil {
		return err
	}
	g, err := group.Open(groupsPath(tmp), group.Options{NoSync: s.opt.NoSync})
	if err != nil {
		return err
	}
	// A consumer of what the backup's directory went on to may still be there. The
	// offset is above all generations too, which go on from the clock's seconds.
	if err := errors.Join(g.Supersede(uint64(first)), g.Close()); err != nil {
		return err
	}
	r.History = l.History()
	r.Segments = l.Stats().Segments
	s.crash("restore.forked")
	return nil
}

// moveIn gives the files their names, the log last, and then takes away what
// keeps the directory from being opened.
func (s *Store) moveIn(tmp string) error {
	for _, name := range moved {
		err := os.Rename(filepath.Join(tmp, name), filepath.Join(s.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.crash("restore.moved")
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return err
	}
	s.crash("restore.named")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	return s.syncNames()
}
